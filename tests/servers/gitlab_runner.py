#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A gitlab-runner as its custom executor sees it: https://docs.gitlab.com/runner/executors/custom/.

  gitlab_runner.py [options] KILN

calls `KILN ci gitlab config|prepare|run|cleanup` for one job: with the runner's environment, in the job's
temporary folder, in a process group of their own, and waits until nobody holds the other end of their
output, as a program in Go does. Says on standard output what the job's log would have, and lines that
begin with "runner: ". Ends with 0: the job succeeded, 1: its script failed, 2: a system failure.
"""
import argparse, json, os, select, shlex, shutil, signal, subprocess, sys, tempfile, time

STAGES = ["prepare_script", "get_sources", "restore_cache", "download_artifacts", "build_script",
          "after_script", "archive_cache", "upload_artifacts_on_success", "cleanup_file_variables"]


def options():
    p = argparse.ArgumentParser()
    p.add_argument("kiln")
    p.add_argument("--job", default="1")
    p.add_argument("--image", default="")
    p.add_argument("--services", default="[]")
    p.add_argument("--script", default="true")
    p.add_argument("--prepare", default="", help="arguments of prepare, as the shell splits them")
    p.add_argument("--config", default="", help="arguments of config")
    p.add_argument("--variable", action="append", default=[], help="NAME=VALUE of the job")
    p.add_argument("--on", nargs=2, default=None, metavar=("TEXT", "ACTION"),
                   help="when the log has TEXT: cancel, or a command for the host's shell")
    p.add_argument("--grace", type=float, default=60, help="seconds between SIGTERM and SIGKILL")
    p.add_argument("--before-cleanup", default="", help="a command for the host's shell")
    p.add_argument("--lost", action="store_true", help="never calls cleanup, as a runner that was killed")
    p.add_argument("--timing", action="store_true", help="prints how long each call took")
    return p.parse_args()


class Runner:
    def __init__(self, o):
        self.o = o
        self.tmp = tempfile.mkdtemp(prefix="custom-executor")
        self.code = os.path.join(self.tmp, "build_exit_code")
        self.job_env = {}
        self.done = o.on is None
        self.cancelled = False
        self.started = time.time()
        variables = {"CI": "true", "CI_JOB_ID": o.job, "CI_JOB_IMAGE": o.image, "CI_JOB_SERVICES": o.services,
                     "CI_PROJECT_PATH_SLUG": "group-project", "CI_SERVER_HOST": "gitlab.example"}
        variables.update(v.split("=", 1) for v in o.variable)
        self.env = {**os.environ, "TMPDIR": self.tmp, "BUILD_FAILURE_EXIT_CODE": "11",
                    "SYSTEM_FAILURE_EXIT_CODE": "12", "BUILD_EXIT_CODE_FILE": self.code,
                    **{"CUSTOM_ENV_" + k: v for k, v in variables.items()}}

    def call(self, stage, *args, separate=False):
        """The exit status and, with separate, standard output."""
        start = time.time()
        p = subprocess.Popen([self.o.kiln, "ci", "gitlab", *args], cwd=self.tmp, env={**self.env, **self.job_env},
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=None if separate else subprocess.STDOUT, start_new_session=True)
        log, kill_at = b"", None
        while True:
            left = None if kill_at is None else max(0, kill_at - time.time())
            if select.select([p.stdout], [], [], left)[0]:
                chunk = os.read(p.stdout.fileno(), 65536)
                if not chunk:
                    break
                log += chunk
                if not separate:
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.flush()
            else:
                os.killpg(p.pid, signal.SIGKILL)
                kill_at = None
            if not self.done and self.o.on[0].encode() in log:
                self.done = True
                if self.o.on[1] == "cancel":
                    self.cancelled = True
                    kill_at = time.time() + self.o.grace
                    os.killpg(p.pid, signal.SIGTERM)
                else:
                    subprocess.run(self.o.on[1], shell=True, check=True)
        status = p.wait()
        if self.o.timing:
            print(f"runner: {stage}: {time.time() - start:.2f} s", flush=True)
        return status, log

    def verdict(self, stage, status):
        if self.cancelled:
            print(f"runner: cancelled in {stage}")
            return 2
        if status == 0:
            return 0
        if status == 11:
            try:
                with open(self.code) as f:
                    print(f"runner: {stage} failed with exit status {int(f.readline())}")
            except FileNotFoundError:
                print(f"runner: {stage} failed")
            return 1
        print(f"runner: system failure in {stage} (status {status})")
        return 2

    def script(self, stage, builds):
        """As the runner's shell writer makes it: one eval, whose standard input is a pipe."""
        text = {"prepare_script": "echo \"Running on $(hostname)...\"",
                "get_sources": f"mkdir -p {builds}/group/project && cd {builds}/group/project && pwd",
                "build_script": f"cd {builds}/group/project\n{self.o.script}"}.get(stage, "true")
        folder = tempfile.mkdtemp(prefix="script", dir=self.tmp)
        path = os.path.join(folder, "script.")
        with open(path, "w") as f:
            f.write("#!/usr/bin/env bash\n\nset -eo pipefail\nset +o noclobber\n"
                    f": | eval {shlex.quote('set -eo pipefail' + chr(10) + text + chr(10))}\nexit 0\n")
        os.chmod(path, 0o700)
        return path

    def job(self):
        status, told = self.call("config", "config", *shlex.split(self.o.config), separate=True)
        if status:
            return self.verdict("config", status)
        config = json.loads(told)
        self.job_env = config["job_env"]
        result = self.verdict("prepare", self.call("prepare", "prepare", *shlex.split(self.o.prepare))[0])
        for stage in STAGES:
            if self.cancelled or result == 2 or (result and stage != "after_script"):
                continue
            path = self.script(stage, config["builds_dir"])
            if stage == "build_script" and self.o.timing:
                print(f"runner: job start to the script: {time.time() - self.started:.2f} s", flush=True)
            result = self.verdict(stage, self.call(stage, "run", path, stage)[0]) or result
        return result

    def run(self):
        try:
            result = self.job()
        finally:
            if self.o.before_cleanup:
                subprocess.run(self.o.before_cleanup, shell=True, check=True)
            if not self.o.lost:
                status, _ = self.call("cleanup", "cleanup")
                print(f"runner: cleanup ended with {status}")
                shutil.rmtree(self.tmp)
        print(f"runner: {['success', 'script failure', 'system failure'][result]}")
        return result


sys.exit(Runner(options()).run())
