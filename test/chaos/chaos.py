#!/usr/bin/python3
"""Real processes under load and faults, judged by test/sim's checker. README.md beside this file tells what is done, and how it is judged.

One round by default, about a minute and a half, with each kind of fault in it; --hours goes on for as long, a round after the other."""
import argparse
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(TOP / "test" / "blackbox")]
import ground  # noqa: E402
from results import Tally, judge  # noqa: E402
from round import Round  # noqa: E402


def options_read():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0, help="how long; 0: one round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each next one has the next")
    parser.add_argument("--seconds", type=float, default=45, help="of faults in a round")
    parser.add_argument("--lease", type=float, default=2, help="in seconds")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / os.environ.get("BUILD", "build"))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()), help="where the rounds live")
    parser.add_argument("--keep", action="store_true", help="keep every round's folder, not only those of rounds that failed")
    options = parser.parse_args()
    if options.lease < 1 or options.seconds <= 0 or options.workers < 2 or options.hours < 0:
        parser.error("a lease is 1 s at least, workers are two at least, times are positive")
    return options


def main():
    options = options_read()
    ground.enter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is cleared away
    ground.leftovers(options.folder)
    folder = options.folder / f"{ground.NAMES}-{os.getpid()}"
    folder.mkdir()
    missing, tally = ground.missing(), Tally()
    networks, bad, began, number, status = [], 0, time.monotonic(), 0, 0
    try:
        if "network" not in missing:
            for i in range(options.workers):
                networks.append(ground.Network(i))
        while number == 0 or time.monotonic() - began < options.hours * 3600:
            seed = options.seed + number
            round_folder = folder / f"round-{seed}"
            round_folder.mkdir()
            run = Round(options, seed, round_folder, networks, missing, tally)
            try:
                run.run()
                findings = judge(options.build, run, tally)
            except Exception as error:  # the next round may still tell something
                traceback.print_exc()
                findings = [f"harness: {error!r}"]
            finally:
                run.close()
            for finding in findings:
                print(f"round {seed}: {finding}", flush=True)
            bad += bool(findings)
            if findings or options.keep:
                kept = options.folder / f"chaos-round-{seed}-{os.getpid()}"
                shutil.move(round_folder, kept)
                print(f"round {seed}: kept in {kept}", flush=True)
            shutil.rmtree(round_folder, ignore_errors=True)
            number += 1
            print(f"round {seed}: {tally.line(time.monotonic() - began)}{'' if not findings else '; BROKEN'}", flush=True)
            if bad >= 5:
                print("five rounds were broken: this is enough to look at", flush=True)
                break
    except (KeyboardInterrupt, SystemExit):
        print("interrupted: the round that ran is not judged", flush=True)
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_IGN)  # what follows clears away
        status = 130
    finally:
        for network in networks:
            network.close()
        ground.forget_clocks()
        shutil.rmtree(folder, ignore_errors=True)
    print(tally.summary(options, number, bad, time.monotonic() - began))
    return 1 if bad else status


if __name__ == "__main__":
    sys.exit(main())
