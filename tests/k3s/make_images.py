"""Image archives for the test bed, without a container engine: the aggregator's without torch, the client's with it, and
one for all of the inference side, proxy and services.

    python make_images.py OUT_DIR ROOTFS_DIR MAKE_IMAGE.py [NAME …]

ROOTFS_DIR: a minimal Debian with a python3 like the one that runs this script. An archive that is there already and was
made from the same packages and the same code is left as it is. NAME: only these archives.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = {"flwr", "numpy", "cryptography", "grpcio", "protobuf"}
WITH_TORCH = NAMES | {"torch", "torchvision", "scikit-learn"}
INFERENCE = {"aiohttp", "kubernetes", "prometheus-client", "pydantic", "PyYAML", "rich", "uvloop"}


@dataclass(frozen=True)
class Image:
    """What is in an image: packages by name, this project's packages, and the program that it runs."""

    reference: str
    names: set[str]
    packages: tuple[str, ...]
    entry: tuple[str, ...]

    @property
    def file(self) -> str:
        """Its archive's name, without the ending."""
        return self.reference.rpartition("/")[2].replace(":", "-")


IMAGES = (
    Image("aiotwin/fl-aggregator:test", NAMES, ("fl_service",), ("python3", "-m", "fl_service")),
    Image("aiotwin/fl-client:test", WITH_TORCH, ("fl_service",), ("python3", "-m", "fl_service")),
    Image(
        "aiotwin/inference:test",
        WITH_TORCH | INFERENCE,
        ("fl_service", "aiotwin_nb"),
        ("python3", "-m", "aiotwin_nb"),
    ),
)


def main(out: Path, rootfs: Path, make_image: Path, *only: str) -> None:
    """Make the archives; what an image is made of is kept, so that new code alone costs no new download."""
    out.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        if only and image.file not in only:
            continue
        archive, root, state = (out / f"{image.file}{ending}" for ending in (".tar", "-root", ".made-of"))
        packages = requirements(image.names)
        made_of = [fingerprint(packages, []), fingerprint(packages, code(image.packages))]
        before = state.read_text().split() if state.is_file() else ["", ""]
        if archive.is_file() and before == made_of:
            print(f"{archive}: up to date")
            continue
        if not root.is_dir() or before[0] != made_of[0]:
            shutil.rmtree(root, ignore_errors=True)
            subprocess.run(["cp", "-a", rootfs, root], check=True)
            install(root, packages)
        for package in image.packages:
            copy_code(root, package)
        what = [archive, f"docker.io/{image.reference}", json.dumps(image.entry), root]
        subprocess.run([sys.executable, make_image, *what], check=True)
        state.write_text("\n".join(made_of))


def requirements(names: set[str]) -> list[str]:
    """The bounded requirements of pyproject.toml that an image needs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["kubernetes"]
    return [requirement for requirement in declared if any(is_of(requirement, name) for name in names)]


def is_of(requirement: str, name: str) -> bool:
    """Whether a requirement is of a package."""
    return requirement.startswith(name) and not requirement[len(name)].isalnum() and requirement[len(name)] != "-"


def code(packages: tuple[str, ...]) -> list[Path]:
    """The files of this project's packages."""
    return [file for package in packages for file in sorted((REPOSITORY / package).rglob("*.py"))]


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


def copy_code(root: Path, package: str) -> None:
    """Put one of this project's packages as it is now into an image's folder."""
    place = root / "opt" / "site" / package
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(REPOSITORY / package, place, ignore=shutil.ignore_patterns("__pycache__"))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *sys.argv[4:])
