"""What the commands would deploy, rendered by the real helm with the real chart: secrets, images, differences."""

import subprocess
from pathlib import Path

import pytest
import yaml

from cluster import manifests, releases
from cluster.chart import VERSION, chart_path
from cluster.config import Config
from cluster.credentials import eks_secrets, kind_secrets
from cluster.helm import Helm
from cluster.kubectl import Kubectl
from console.errors import UserError
from console.options import ROOT
from tests.cluster.test_credentials import URLS
from tests.tools import tool

CHART = Path.home() / f".cache/taxiway/airflow-{VERSION}.tgz"
pytestmark = pytest.mark.skipif(not CHART.exists(), reason="chart: the Airflow chart is not on this machine")
EKS = {"ENV": "eks", "IMAGE_REGISTRY": "r.example.com", "IMAGE_TAG": "1"}


def render(release: releases.Release) -> str:
    command = [tool("helm"), "template", release.name, release.chart, "--namespace", "taxiway", *release.arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def kind() -> list[str]:
    config = Config.from_environment({"IMAGE_TAG": "0123456789"})  # a number to YAML: it must stay a text
    return [render(each(config, "0123456789")) for each in (releases.platform, releases.airflow)]


def test_make_secrets_makes_every_secret_that_kind_needs(kind: list[str]) -> None:
    there = {name: set(data) for name, data in kind_secrets("taxiway", {}).items()}
    for manifest in kind:
        needed = manifests.needed_secrets(manifest)
        assert needed, "the manifest names secrets"
        assert manifests.missing_secrets(needed, there) == []


def test_make_secrets_makes_every_secret_that_kind_needs_with_metadata_in_mysql() -> None:
    config = Config.from_environment({"FEATURES": "mysql-metadata keda"})
    there = {name: set(data) for name, data in kind_secrets("taxiway", {}, mysql_metadata=True).items()}
    for release in (releases.platform, releases.airflow):
        needed = manifests.needed_secrets(render(release(config, "0123456789")))
        assert manifests.missing_secrets(needed, there) == []
    assert "metadata-mysql" in there


@pytest.mark.parametrize(
    ("values", "connection", "features", "words"),
    [
        (None, "", "", None),
        (None, "", "mysql-metadata", None),
        ({}, "postgresql+psycopg2://a:b@c/d", "", None),
        ({"data": {"metadataConnection": {"protocol": "mysql"}}}, "mysql+mysqldb://a:b@c/d", "mysql-metadata", None),
        ({}, "", "mysql-metadata", "are in PostgreSQL; with the feature mysql-metadata they would be in MySQL"),
        (None, "postgresql://a:b@c/d", "mysql-metadata", "are in PostgreSQL; with the feature"),
        ({}, "mysql+mysqldb://a:b@c/d", "mysql-metadata", "are in PostgreSQL; with the feature"),
        (None, "mysql+mysqldb://a:b@c/d", "", "are in MySQL; without .* in PostgreSQL.* Add FEATURES=mysql-metadata"),
        ({"data": {"metadataConnection": {"protocol": "mysql"}}}, "", "", "are in MySQL; without the feature"),
    ],
)
@pytest.mark.parametrize("environment", ["kind", "eks"])
def test_airflow_s_tables_stay_in_the_kind_of_database_that_they_are_in(
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, object] | None,
    connection: str,
    features: str,
    words: str | None,
    environment: str,
) -> None:
    monkeypatch.setattr(releases, "secret", lambda _, name: {"connection": connection} if connection else {})
    monkeypatch.setattr(Helm, "values", lambda _, name: values)
    monkeypatch.setattr(Helm, "require_version", lambda _: None)
    config = Config.from_environment({"ENV": environment, "KUBE_CONTEXT": "one", "FEATURES": features})
    if words is None:
        releases.require_same_database(config, Kubectl("one", "taxiway"))
    else:
        with pytest.raises(UserError, match=words) as error:
            releases.require_same_database(config, Kubectl("one", "taxiway"))
        assert "Nothing was changed." in str(error.value)
        assert "a:b" not in str(error.value)


def test_make_secrets_makes_every_secret_that_eks_needs(tmp_path: Path) -> None:
    there = {name: set(data) for name, data in eks_secrets("taxiway", {}, URLS, oidc=False).items()}
    values = tmp_path / "mine.yaml"
    account = {"taxiway": {"account": "123456789012", "bucketPrefix": "taxiway-1"}}
    values.write_text(yaml.safe_dump({"global": account, "dags": {"gitSync": {"repo": "git@example.com:a/b.git"}}}))
    config = Config.from_environment({**EKS, "VALUES": str(values)})
    manifest = render(releases.airflow(config, "1"))
    missing = manifests.missing_secrets(manifests.needed_secrets(manifest), there)
    assert [name for name in missing if name not in releases.BY_HAND] == []


def test_a_new_namespace_needs_no_secret_that_external_secrets_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, platform = tmp_path / "mine.yaml", tmp_path / "platform.yaml"
    account = {"taxiway": {"account": "123456789012", "bucketPrefix": "taxiway-1"}}
    mine.write_text(yaml.safe_dump({"global": account, "dags": {"gitSync": {"repo": "https://example.com/a/b.git"}}}))
    platform.write_text(yaml.safe_dump({"externalSecrets": {"enabled": True}}))
    monkeypatch.setattr(Kubectl, "run", lambda *_, **__: "")  # the namespace has no secret
    kubectl = Kubectl("one", "taxiway")

    def rendered(**given: str) -> list[str]:
        config = Config.from_environment({**EKS, "VALUES": str(mine), **given})
        return [render(each(config, "1")) for each in (releases.platform, releases.airflow)]

    config = Config.from_environment(EKS)
    releases.require_secrets(config, kubectl, rendered(PLATFORM_VALUES=str(platform)))
    with pytest.raises(UserError, match="airflow-fernet-key"):
        releases.require_secrets(config, kubectl, rendered())


def test_monitoring_needs_no_secret_on_kind_and_is_rendered_for_both() -> None:
    for given in ({}, EKS):
        rendered = render(releases.monitoring(Config.from_environment(given)))
        assert manifests.needed_secrets(rendered).keys() <= {"airflow-redis-password"}, given
    kinds = {each["kind"] for each in manifests.parse(rendered)}
    assert {"ServiceMonitor", "PrometheusRule"} <= kinds


def test_features_reach_every_chart_that_they_concern() -> None:
    def files(release: releases.Release) -> list[str]:
        return [
            Path(word).relative_to(ROOT / "helm").as_posix() for word in release.arguments if word.endswith(".yaml")
        ]

    kind = Config.from_environment({"FEATURES": "mysql-metadata big-workers"})
    eks = Config.from_environment({**EKS, "FEATURES": "mysql-metadata big-workers"})
    assert files(releases.platform(kind, "1"))[1:] == ["platform/features/kind/mysql-metadata.yaml"]
    assert files(releases.platform(eks, "1"))[1:] == []
    for config in (kind, eks):
        assert files(releases.monitoring(config))[1:] == ["monitoring/features/mysql-metadata.yaml"]
    assert [each for each in files(releases.airflow(eks, "1")) if "/features/" in each] == [
        "airflow/features/mysql-metadata.yaml",
        "airflow/features/big-workers.yaml",
    ]


def test_the_images_are_those_of_the_tag(kind: list[str]) -> None:
    platform, airflow = (manifests.images(manifest) for manifest in kind)
    assert {"taxiway/local-aws:0123456789", "taxiway/git-server:0123456789"} <= platform
    assert manifests.airflow_image(kind[1]) == "taxiway/airflow:0123456789"
    ours = [image for image in airflow if "taxiway/" in image]
    assert ours == ["taxiway/airflow:0123456789"]
    assert not [
        image for image in platform | airflow if image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    ]


def test_a_changed_tag_is_what_a_difference_shows(kind: list[str]) -> None:
    other = render(releases.airflow(Config.from_environment({"IMAGE_TAG": "other"}), "other"))
    changed = [line for line in manifests.difference(kind[1], other).splitlines() if line[:1] in "+-"]
    changed = [line for line in changed if not line.startswith(("+++", "---"))]
    assert changed
    assert all("0123456789" in line or "other" in line or "checksum/" in line for line in changed)
    assert manifests.difference(kind[1], kind[1]) == ""


def test_the_chart_is_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHART", raising=False)
    assert chart_path() == str(CHART)
