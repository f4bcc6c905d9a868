"""The notebook on a cluster runs headless against real nodes, and kindly does nothing where there are none."""

import nbformat
from k3s_support import IMAGES, NAMESPACE, REPOSITORY, run_here

NOTEBOOK = REPOSITORY / "notebooks" / "10-on-k3s.ipynb"


def printed(path):
    outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_the_notebook_runs_on_the_cluster(bed, tmp_path):
    given = {"kubeconfig": bed.kubeconfig, "namespace": NAMESPACE, **IMAGES, "max_rounds": 12}
    parameters = [word for name, value in given.items() for word in ("-p", name, value)]
    done = run_here("notebook", NOTEBOOK, *parameters, "-o", tmp_path / "out.ipynb", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = printed(tmp_path / "out.ipynb")
    assert "largest difference in accuracy over 12 rounds: 0 points" in text
    assert "the same ledger: True" in text
    assert "left on the cluster: nothing" in text
