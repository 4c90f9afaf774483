"""Runs of `corelog bench`, and what their results say.

The generator is one binary for every broker; nothing here times anything.
"""

import json
import re
import shutil
import time

import supervise

# Beyond its own time a run may connect, create topics, drain and write results.
GRACE_SECONDS = 90
FLOOR_SECONDS = 240


def seconds_of(text):
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def command(binary, run, variant, running, topic_settings, out, name):
    """The command line of a run."""
    line = [binary, "bench", run.kind, "--proto", variant.protocol, "-b", running.address(variant.protocol)]
    for key, value in run.arguments.items():
        line += ["--" + key.replace("_", "-"), str(value)]
    for key, value in topic_settings.items():
        line += ["--config", f"{key}={value}"]
    line += ["--durability", f"{variant.durability} ({variant.how})"]
    line += ["--broker-pid", str(running.pid), "--name", name]
    return line if out is None else [*line, "--out", str(out)]


def measure(binary, step, variant, running, out, name):
    """One step: the result, as the generator wrote it."""
    settings = {**variant.settings, **step.settings.get(variant.family, {})}
    out.mkdir(parents=True)
    log = out / "generator.log"
    beside = None
    if step.beside is not None:
        line = command(binary, step.beside, variant, running, settings, None, f"{name} beside")
        # A reader that is through begins again, so that there is always one.
        beside = supervise.start(["sh", "-c", 'while "$@"; do :; done', "sh", *line], out / "beside.log")
    try:
        line = command(binary, step.run, variant, running, settings, out, name)
        limit = seconds_of(step.run.arguments["duration"]) + seconds_of(step.run.arguments.get("warmup", "0s"))
        run_bench(line, log, limit + GRACE_SECONDS)
        result = json.loads((out / "result.json").read_text())
        if beside is not None and beside.poll() is not None:
            said = supervise.tail(out / "beside.log").splitlines()
            result["verdict"]["valid"] = False
            result["verdict"]["invalid"].append(f"what ran beside it failed: {said[-1] if said else 'in silence'}")
        return result
    finally:
        if beside is not None:
            supervise.stop(beside, gentle_seconds=0)


def run_bench(line, log, seconds):
    """The exit code of a run that was judged invalid is not 0, but its result is there and says so."""
    process = supervise.start(line, log)
    try:
        process.wait(seconds)
    except Exception:
        raise supervise.Failed(f"the generator took longer than {seconds:.0f} s\n{supervise.tail(log)}") from None
    finally:
        supervise.stop(process)
    if process.returncode != 0 and not (log.parent / "result.json").exists():
        raise supervise.Failed(f"the generator failed with {process.returncode}\n{supervise.tail(log)}")


def floor(binary, directory, out, quick):
    """The machine's own figures, and where they are kept."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    out.mkdir(parents=True, exist_ok=True)
    try:
        supervise.run(
            [binary, "bench", "floor", "--dir", directory, "--out", out, "--duration", "100ms" if quick else "400ms"],
            out / "floor.log", FLOOR_SECONDS,
        )
        return json.loads((out / "floor.json").read_text())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def floor_figures(floor, kind, message_bytes):
    """What a broker could reach at best, by the figures' names."""
    if kind == "one-in-flight":
        whole = floor["one_in_flight"]["whole"]
        return {
            "rate": 1e9 / whole["mean"],
            **{f"{name}.{point}": whole[point] / 1e3 for name in ("service", "response") for point in ("mean", "p50", "p90", "p99", "p999", "max")},
        }
    if kind == "ingest":
        disk = max(write["bytes_per_second"] for write in floor["durable"])
        core = next(rate["bytes_per_cpu_second"] for rate in floor["receive"] if rate["what"] == "receive+crc32c+copy")
        bytes_per_second = min(disk, core)
        return {"rate": bytes_per_second / message_bytes, "megabytes": bytes_per_second / 1e6}
    return {}


def figure(result, name):
    """One figure of a result, or None where there is none. Latencies in microseconds."""
    totals = result["totals"]
    seconds = result["seconds"]
    if name == "rate":
        return totals["acked"] / seconds
    if name == "received":
        return totals["received"] / seconds
    if name == "megabytes":
        return totals["acked_bytes"] / seconds / 1e6
    if name == "cpu":
        if not totals["broker_cpu"] or not totals["acked"]:
            return None
        return totals["broker_cpu"] * seconds / totals["acked"] * 1e6
    distribution, point = name.split(".")
    values = result["latency"].get(distribution)
    return values[point] / 1e3 if values and values["count"] else None


def host(result):
    """The facts of the machine that a line of results needs."""
    facts = result["environment"]
    wanted = ("cpu.model", "cpu.logical", "kernel.release", "memory.total_bytes", "disk.filesystem")
    return {name: facts[name] for name in wanted if name in facts}


def now_ms():
    return int(time.time() * 1000)
