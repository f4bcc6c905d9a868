"""What pyproject.toml cannot say: labs/, notebooks/ and k3s/ stand beside the package, and inside it once built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = {
    "labs": ("*.yaml", "*.csv", "*.md", "*.png"),
    "notebooks": ("*.ipynb",),
    "k3s": ("*.yaml", "*.txt", "Dockerfile"),
}


class BuildPy(build_py):
    """Copies the shipped folders into the package; an editable install finds them where they are."""

    def run(self) -> None:
        """Build the package, then add them."""
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in SHIPPED.items():
            for source in sorted(path for pattern in patterns for path in Path(folder).rglob(pattern)):
                target = Path(self.build_lib) / "aiotwin_nb" / source
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildPy})
