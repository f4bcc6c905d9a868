import subprocess
import sys

from fl_service import __version__
from fl_service.__main__ import main


def test_help_and_version():
    for option, words in (("--help", "role"), ("--version", __version__)):
        done = subprocess.run([sys.executable, "-m", "fl_service", option], capture_output=True, text=True, check=True)
        assert words in done.stdout


def test_roles_are_refused_with_2(capsys):
    assert main(["client"]) == 2
    assert "not available" in capsys.readouterr().err
    assert main(["clinet"]) == 2
    assert "not known" in capsys.readouterr().err
    assert main([]) == 0
