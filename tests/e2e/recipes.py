#!/usr/bin/env python3
"""Looks at the recipes of examples/ci: recipes.py check KILN FOLDER, or recipes.py job FILE NAME (its commands)."""
import re
import subprocess
import sys

import yaml


def fail(text):
    sys.exit(text)


def read(path):
    with open(path, encoding="utf-8") as f:
        return yaml.safe_load(f)


def check_job(path):
    job = read(path)
    spec = job["spec"]["template"]["spec"]
    if (job["apiVersion"], job["kind"]) != ("batch/v1", "Job") or spec["restartPolicy"] != "Never":
        fail(f"{path}: not a Job")
    volumes = {v["name"] for v in spec["volumes"]}
    for v in spec["volumes"]:
        if not set(v) - {"name"} <= {"emptyDir", "secret", "configMap"}:
            fail(f"{path}: {v['name']} comes from the node")
    if spec["securityContext"]["runAsNonRoot"] is not True:
        fail(f"{path}: may run as root")
    for c in spec["containers"]:
        context = c["securityContext"]
        if context.get("privileged") or context["allowPrivilegeEscalation"] or context["capabilities"] != {"drop": ["ALL"]}:
            fail(f"{path}: {c['name']} has privileges")
        missing = {m["name"] for m in c["volumeMounts"]} - volumes
        if missing or not all(isinstance(e["value"], str) for e in c["env"]):
            fail(f"{path}: {c['name']}: {missing or 'env'}")


def check_vm(path):
    vm = read(path)
    spec = vm["spec"]["template"]["spec"]
    disks = {d["name"] for d in spec["domain"]["devices"]["disks"]}
    volumes = {v["name"]: v for v in spec["volumes"]}
    if vm["kind"] != "VirtualMachine" or disks != set(volumes):
        fail(f"{path}: disks {disks}, volumes {set(volumes)}")
    if not any("containerDisk" in v for v in volumes.values()):
        fail(f"{path}: no containerDisk")
    interfaces = {i["name"] for i in spec["domain"]["devices"]["interfaces"]}
    if interfaces != {n["name"] for n in spec["networks"]}:
        fail(f"{path}: interfaces {interfaces}")


def check_options(kiln, path):
    """Every option that a recipe gives kiln is one that the subcommand's help has."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"\\\n\s*", " ", f.read())
    found = 0
    for line in text.splitlines():
        if line.lstrip().startswith(("#", "//")):
            continue
        for words in re.findall(r"(?:^|[\s'|&(\"])kiln ((?:image )?[a-z]+)((?: [^|;&]+)?)", line):
            help_text = subprocess.run([kiln, *words[0].split(), "--help"], capture_output=True, text=True, check=False)
            if help_text.returncode:
                fail(f"{path}: kiln {words[0]}: {help_text.stderr}")
            for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", words[1]):
                found += 1
                if not re.search(rf"(?<![a-z-]){option}(?![a-z-])", help_text.stdout):
                    fail(f"{path}: kiln {words[0]} has no {option}")
    return found


def check(kiln, folder):
    names = ["gitlab-ci.yml", "github-workflow.yml", "Jenkinsfile", "kubernetes-job.yaml", "kubevirt-vm.yaml",
             "image.sh", "buildkite/hooks/command"]
    found = sum(check_options(kiln, f"{folder}/{n}") for n in names)
    if found < 10:
        fail(f"only {found} options seen")
    check_job(f"{folder}/kubernetes-job.yaml")
    check_vm(f"{folder}/kubevirt-vm.yaml")
    workflow = read(f"{folder}/github-workflow.yml")["jobs"]["image"]
    if not all(("run" in s) != ("uses" in s) for s in workflow["steps"]) or "runs-on" not in workflow:
        fail("github-workflow.yml: a step with neither or both of run and uses")
    if read(f"{folder}/buildkite/plugin.yml")["configuration"]["required"] != ["image"]:
        fail("plugin.yml")


def job(path, name):
    j = read(path)[name]
    print("\n".join(["set -eu", *j.get("before_script", []), *j["script"]]))


if __name__ == "__main__":
    {"check": check, "job": job}[sys.argv[1]](*sys.argv[2:])
