import stat
from datetime import UTC, datetime

import pytest
from cryptography import x509

from fl_service.certificates import EVALUATOR, ORCHESTRATOR, Authority, Credentials, dns_name, names_in
from fl_service.errors import CertificateError


def test_a_certificate_is_bound_to_its_name_and_signed_by_its_run():
    authority, other = Authority("a"), Authority("b")
    for name in ("n5", "Node_5.x", ORCHESTRATOR, EVALUATOR):
        credentials = authority.issue(name)
        assert names_in(credentials.certificate) == {dns_name(name)}
        certificate = x509.load_pem_x509_certificate(credentials.certificate)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        with pytest.raises(Exception, match=r"."):
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(other.certificate))
    assert len({dns_name(name) for name in ("n5", "n6", "N5", ORCHESTRATOR)}) == 4


def test_validity_in_days():
    expired = x509.load_pem_x509_certificate(Authority("a").issue("n5", days=-1).certificate)
    assert expired.not_valid_after_utc < datetime.now(UTC)
    assert expired.not_valid_before_utc < expired.not_valid_after_utc


def test_files_are_those_of_a_secret_and_the_key_is_private(tmp_path):
    credentials = Authority("a").issue("n5")
    folder = credentials.write(tmp_path / "n5")
    assert sorted(path.name for path in folder.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600
    assert Credentials.load(folder) == credentials
    (folder / "tls.crt").unlink()
    with pytest.raises(CertificateError, match=r"tls\.crt"):
        Credentials.load(folder)


def test_a_nodes_certificate_signs_nobody():
    certificate = x509.load_pem_x509_certificate(Authority("a").issue("n5").certificate)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
