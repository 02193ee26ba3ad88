"""What the chart makes of some values: as the operator, its code and Kubernetes' rules for safe pods want it."""

from __future__ import annotations

from typing import Any

import click
import pytest
import yaml

from matrix_cli.commands.operator import operator
from matrix_crds.on_kubernetes import OPERATOR
from matrix_operator.engines.kubernetes_settings import FileSettings, read
from matrix_operator.engines.kubernetes_sites import POD_ADDRESS, POD_NAME, POD_NAMESPACE
from matrix_operator.rbac import HUB, LEFT_BEHIND, RULES, TAKEN_ALONG, Rule, outputs
from tests.unit.chart.rendered import CASES, KUSTOMIZE, Object, kustomize, objects

each = pytest.mark.parametrize("case", CASES)


def of_kind(case: str, *kinds: str) -> list[Object]:
    return [found for found in objects(case) if found["kind"] in kinds]


def pods(case: str) -> list[Object]:
    return [found["spec"]["template"]["spec"] for found in of_kind(case, "Deployment", "Job")]


@each
def test_each_object_says_whose_it_is(case: str) -> None:
    for found in objects(case):
        assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "matrix"
        assert ("namespace" in found["metadata"]) is not found["kind"].startswith("Cluster")


@each
def test_pods_satisfy_the_restricted_standard(case: str) -> None:
    """As of the Pod Security Standards; and nothing is written but where a volume is."""
    assert len(pods(case)) == 2
    for pod in pods(case):
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all({"configMap", "emptyDir", "secret"} & set(volume) for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]) and container["resources"]["limits"]["memory"]


@each
def test_the_command_line_takes_what_pods_are_given(case: str, tmp_path: Any) -> None:
    for pod in pods(case):
        group, name, *arguments = pod["containers"][0]["args"]
        assert group == operator.name
        config = tmp_path / "operator.yaml"
        config.touch()
        given = [argument.replace("/etc/matrix/operator.yaml", str(config)) for argument in arguments]
        command = operator.commands[name]
        context = command.make_context(name, given, parent=click.Context(operator))
        assert set(context.params["namespaces"]) == ({"team-a", "team-b"} if case == "namespaced" else {"all"})


@each
def test_the_operator_reads_its_settings(case: str, tmp_path: Any) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(of_kind(case, "ConfigMap")[0]["data"]["operator.yaml"])
    assert read(path).kuberay().image == {"full": "registry.example:5000/matrix-gpu:1"}.get(case, "matrix.dev/matrix:0.1.0")


def test_a_site_can_set_all_that_there_is() -> None:
    settings = [yaml.safe_load(of_kind(case, "ConfigMap")[0]["data"]["operator.yaml"]) for case in ("full", "hub")]
    assert set(settings[0] | settings[1]) == {field.alias for field in FileSettings.model_fields.values()}


def test_the_hub_finds_its_certificate_where_it_is_mounted(tmp_path: Any) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(of_kind("hub", "ConfigMap")[0]["data"]["operator.yaml"])
    section = read(path).hub
    assert section is not None
    container = of_kind("hub", "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    (mount,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "hub-tls")
    assert (section.certificate, section.key) == (f"{mount}/tls.crt", f"{mount}/tls.key")
    assert section.port in [port["containerPort"] for port in container["ports"]]
    assert {POD_ADDRESS, POD_NAME, POD_NAMESPACE} <= {variable["name"] for variable in container["env"]}


def rules_of(case: str, name: str) -> list[list[Object]]:
    return [found["rules"] for found in of_kind(case, "Role", "ClusterRole") if found["metadata"]["name"] == name]


def policy(*rules: Rule) -> list[Object]:
    return [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)} for rule in rules]


@each
def test_rights_are_those_that_the_code_needs(case: str) -> None:
    needed = (*RULES, *HUB) if case == "hub" else RULES
    assert rules_of(case, OPERATOR) == [policy(*needed)] * (2 if case == "namespaced" else 1)
    lease = next(found["rules"] for found in outputs()["own-namespace.yaml"] if found["kind"] == "Role")
    assert rules_of(case, f"{OPERATOR}-lease") == [lease]
    left = TAKEN_ALONG if case == "full" else LEFT_BEHIND
    assert rules_of(case, f"{OPERATOR}-uninstall") == [policy(left)] * (2 if case == "namespaced" else 1)


@each
def test_no_right_is_a_wildcard_and_no_role_is_kubernetes_own(case: str) -> None:
    for found in of_kind(case, "Role", "ClusterRole"):
        assert not [rule for rule in found["rules"] if "*" in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])]
    for found in of_kind(case, "RoleBinding", "ClusterRoleBinding"):
        assert found["roleRef"]["name"] == found["metadata"]["name"]


def test_without_a_cluster_role_nothing_reaches_beyond_the_namespaces() -> None:
    assert of_kind("namespaced", "ClusterRole", "ClusterRoleBinding") == []
    places = [found["metadata"]["namespace"] for found in of_kind("namespaced", "Role") if found["metadata"]["name"] == OPERATOR]
    assert places == ["team-a", "team-b"]


@each
def test_selectors_meet_the_operators_pods_alone(case: str) -> None:
    deployment, job = of_kind(case, "Deployment")[0], of_kind(case, "Job")[0]
    ours, others = (found["spec"]["template"]["metadata"]["labels"] for found in (deployment, job))
    wanted = [deployment["spec"]["selector"]["matchLabels"], of_kind(case, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]]
    wanted += [found["spec"]["selector"] for found in of_kind(case, "Service")]
    for labels in wanted:
        assert labels.items() <= ours.items()
        assert not labels.items() <= others.items()


def test_the_kustomize_base_is_made_of_the_chart() -> None:
    made = kustomize()
    assert {path: path.read_text() for path in KUSTOMIZE.iterdir()} == made
    assert not [text for text in made.values() if "helm" in text.lower().replace("from charts/", "")]
