"""Image archives for the test bed: the aggregator's without torch, the client's with it; no container engine needed.

    python make_images.py OUT_DIR ROOTFS_DIR MAKE_IMAGE.py

ROOTFS_DIR: a minimal Debian with a python3 like the one that runs this script. An archive that is there already and was
made from the same packages and the same code is left as it is.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES = {"aiotwin/fl-aggregator:test": False, "aiotwin/fl-client:test": True}
NAMES = {"flwr", "numpy", "cryptography", "grpcio", "protobuf"}
WITH_TORCH = {"torch", "torchvision", "scikit-learn"}


def main(out: Path, rootfs: Path, make_image: Path) -> None:
    """Make both archives; what an image is made of is kept, so that new code alone costs no new download."""
    out.mkdir(parents=True, exist_ok=True)
    for reference, torch in IMAGES.items():
        name = reference.rpartition("/")[2].replace(":", "-")
        archive, root, state = out / f"{name}.tar", out / f"{name}-root", out / f"{name}.made-of"
        packages = requirements(torch)
        made_of = [fingerprint(packages, []), fingerprint(packages, code())]
        before = state.read_text().split() if state.is_file() else ["", ""]
        if archive.is_file() and before == made_of:
            print(f"{archive}: up to date")
            continue
        if not root.is_dir() or before[0] != made_of[0]:
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", rootfs, root], check=True)
            install(root, packages)
        copy_code(root)
        entry = '["python3", "-m", "fl_service"]'
        subprocess.run([sys.executable, make_image, archive, f"docker.io/{reference}", entry, root], check=True)
        state.write_text("\n".join(made_of))


def requirements(torch: bool) -> list[str]:
    """The bounded requirements of pyproject.toml that an image needs."""
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = NAMES | (WITH_TORCH if torch else set())
    return [requirement for requirement in declared if any(is_of(requirement, name) for name in wanted)]


def is_of(requirement: str, name: str) -> bool:
    """Whether a requirement is of a package."""
    return requirement.startswith(name) and not requirement[len(name)].isalnum() and requirement[len(name)] != "-"


def code() -> list[Path]:
    """The FL service's own files."""
    return sorted((REPOSITORY / "fl_service").rglob("*.py"))


def fingerprint(packages: list[str], files: list[Path]) -> str:
    """Changes when the packages or the files do."""
    digest = hashlib.sha256("\n".join(packages).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def install(root: Path, packages: list[str]) -> None:
    """Install packages under /opt/site, where the image's Python finds them."""
    site = root / "opt" / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site), *packages]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    found = next((root / "usr" / "lib" / "python3").glob("dist-packages"))
    (found / "fl_service.pth").write_text("/opt/site\n")


def copy_code(root: Path) -> None:
    """Put the FL service as it is now into an image's folder."""
    place = root / "opt" / "site" / "fl_service"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(REPOSITORY / "fl_service", place, ignore=shutil.ignore_patterns("__pycache__"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
