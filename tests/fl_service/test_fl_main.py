import subprocess
import sys

from fl_service import __version__
from fl_service.__main__ import main


def test_help_and_version():
    for option, words in (("--help", "role"), ("--version", __version__)):
        done = subprocess.run([sys.executable, "-m", "fl_service", option], capture_output=True, text=True, check=True)
        assert words in done.stdout


def test_without_a_role_it_says_what_it_is(capsys):
    assert main([]) == 0
    assert "federated learning" in capsys.readouterr().out
