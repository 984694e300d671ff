"""Kills our tools, fills their disk and damages their files, and checks that nothing is lost and nothing is wrong.

Each tool runs once undisturbed, on data so small that it takes seconds. Then it is disturbed, started again and
compared with that run: parameters, masks, pairs and exports must be equal bit by bit, or an error must name the file
that is bad. A stopped campaign goes on where it was. To disturb trainings that the code of today makes, give another
--out. The table goes to OUT/campaign.md; docs/campaign.md holds that of a full run.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from campaign_parts.damages import HOW, kinds  # noqa: E402
from campaign_parts.phases import make_inputs, phases_in  # noqa: E402
from campaign_parts.report import report  # noqa: E402
from campaign_parts.tools import ROOT, Tools  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'campaign', help='folder of all runs')
    parser.add_argument('--kills', type=int, default=200, help='kills in all; default: 200')
    parser.add_argument('--fills', type=int, default=2, help='full disks for each tool; default: 2')
    parser.add_argument(
        '--damages',
        type=int,
        default=4,
        help='files of each kind that are cut off, and as many again in which a bit is flipped; default: 4',
    )
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other moments and bytes')
    parser.add_argument('--only', nargs='+', default=[], help='names of tools or files, as the table has them')
    return parser.parse_args()


class Rows:
    """What has been tried, a line of JSON each, so that a stopped campaign goes on.

    Args:
        path (Path): The file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def try_once(self, run, /, **key) -> dict:
        """The row of a trial, which is run if there is none yet."""
        for row in self.rows:
            if key.items() <= row.items():
                return row
        row = {**key, **run()}
        self.rows.append(row)
        with open(self.path, 'a') as file:
            file.write(json.dumps(row) + '\n')
        print(*(f'{name}={value!r}' for name, value in row.items() if name != 'note'), flush=True)
        if row['outcome'] not in ('same', 'named'):
            print(row['note'], flush=True)
        return row


def disturb(args):
    from campaign_parts.trials import Trials

    rows, tools = Rows(args.out / 'rows.jsonl'), Tools()
    trials, phases = Trials(tools, args.out, args.seed), phases_in(args.out)
    if not (args.out / 'photographs').exists():
        make_inputs(args.out)
    wholes = {}
    for phase in phases:
        wholes[phase.name] = trials.whole(phase)
        print(f'{phase.name}: {wholes[phase.name].seconds:.1f} s, {wholes[phase.name].files} files', flush=True)
        if phase.name == 'make_rain' and not (args.out / 'pairs').exists():
            os.symlink(args.out / 'whole' / 'make_rain', args.out / 'pairs')
    chosen = [phase for phase in phases if not args.only or phase.name in args.only]
    jobs, shares, fills = [], sum(phase.share for phase in chosen), args.fills if may_mount() else 0
    for phase in chosen:
        kills = -(-args.kills * phase.share // shares)
        jobs += [((number + 1) / kills, kill_phase, phase, number + 1) for number in range(kills)]
        jobs += [((number + 0.5) / fills, fill_phase, phase, number) for number in range(fills)]
    for kind in kinds(args.out):
        if not args.only or kind.name in args.only:
            jobs += [((number + 0.5) / args.damages, damage_kind, kind, number) for number in range(args.damages)]
    # A campaign that is stopped has tried some of everything.
    for _, job, what, number in sorted(jobs, key=lambda job: job[0]):
        job(rows, trials, wholes, what, number)
    return rows.rows


def kill_phase(rows, trials, wholes, phase, wanted):
    killed, number = 0, 0
    while killed < wanted:
        row = rows.try_once(
            lambda: trials.kill(phase, wholes[phase.name], number), trial='kill', name=phase.name, number=number
        )
        killed, number = killed + row['kills'], number + 1


def fill_phase(rows, trials, wholes, phase, number):
    rows.try_once(lambda: trials.fill(phase, wholes[phase.name], number), trial='fill', name=phase.name, number=number)


def damage_kind(rows, trials, wholes, kind, number):
    for how in HOW:
        rows.try_once(lambda: trials.damage(kind, number, how), trial=how, name=kind.name, number=number)


def may_mount() -> bool:
    """Whether a tmpfs can be mounted: for root only."""
    if os.geteuid():
        print('full disks are left out: mounting a tmpfs needs root')
    return not os.geteuid()


def main():
    args = parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = disturb(args)
    text = report(rows)
    (args.out / 'campaign.md').write_text(text)
    print(text)
    if any(row['outcome'] not in ('same', 'named') for row in rows):
        sys.exit('error: something was lost or wrong; OUT/rows.jsonl says what')


if __name__ == '__main__':
    main()
