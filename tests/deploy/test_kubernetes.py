"""The Kubernetes manifests are valid, and fit the server: its options, paths, times and metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from live_server import LiveServer
from test_docs import parse, whole_command

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
pytestmark = pytest.mark.skipif(not MANIFESTS, reason="only a checkout has deploy/")


def manifest(kind: str) -> Any:
    documents = [yaml.safe_load(each.read_text("utf-8")) for each in MANIFESTS]
    [found] = [each for each in documents if each["kind"] == kind]
    return found


def container() -> Any:
    [only] = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    return only


def options() -> dict[str, str]:
    return dict(each.split("=") for each in container()["args"])


@pytest.mark.parametrize(
    "file", [each for each in MANIFESTS if each.stem != "kustomization"], ids=lambda file: file.stem
)
def test_a_manifest_fits_the_schema(file: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(yaml.safe_load(file.read_text("utf-8")), "1.30", strict=True)


def test_all_manifests_are_applied_and_select_the_same_pods() -> None:
    listed = set(manifest("Kustomization")["resources"])
    assert listed == {each.name for each in MANIFESTS} - {"kustomization.yaml"}
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "mlcycle"


def test_the_options_are_those_of_the_server() -> None:
    parse(["serve", *container()["args"]])
    defaults = {each.opts[0]: each.default for each in whole_command().commands["serve"].params}
    limits = [float(options().get(name, defaults[name])) for name in ("--drain", "--body-time", "--deadline")]
    assert manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= sum(limits)
    [mount] = container()["volumeMounts"]
    [secret] = manifest("Kustomization")["secretGenerator"]
    [volume] = manifest("Deployment")["spec"]["template"]["spec"]["volumes"]
    assert options()["--token-file"] == f"{mount['mountPath']}/{secret['files'][0]}"
    assert volume["secret"]["secretName"] == secret["name"]


def test_probes_and_the_autoscaler_name_what_there_is(server: LiveServer) -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server.request("GET", container()[probe]["httpGet"]["path"]).status == 200
    names = [each["pods"]["metric"]["name"] for each in manifest("HorizontalPodAutoscaler")["spec"]["metrics"]
             if each["type"] == "Pods"]  # fmt: skip
    text = server.request("GET", "/metrics").body.decode()
    assert names
    assert all(f"\n{name} " in text or f"\n{name}{{" in text for name in names)


def test_the_server_may_do_no_more_than_it_needs() -> None:
    pod, own = manifest("Deployment")["spec"]["template"]["spec"], container()["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}:" in (DEPLOY / "Dockerfile").read_text("utf-8")
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert manifest("NetworkPolicy")["spec"]["egress"] == []
