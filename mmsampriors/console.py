"""The command ``mmsampriors``: runs the tools of an installed package, where there is no clone."""

import runpy
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent / '.mim' / 'tools'
#: Where a tool is not called after its file.
NAMES = {'export_student': 'export'}


def commands() -> dict:
    """Name of a command to the file that it runs: every Python tool of the package."""
    files = {path.stem: path for path in sorted(TOOLS.rglob('*.py')) if not path.stem.endswith('_tool')}
    return {NAMES.get(name, name).replace('_', '-'): path for name, path in files.items()}


def main():
    """Runs ``mmsampriors COMMAND ...`` as ``python tools/COMMAND.py ...`` of a clone."""
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name not in known:
        usage = f'usage: mmsampriors COMMAND [ARGUMENTS], with COMMAND one of: {", ".join(sorted(known))}'
        if name in ('-h', '--help'):
            print(f'{usage}\nmmsampriors COMMAND --help says more.')
            return
        sys.exit(f'{usage}\nerror: there is no command {name!r}')
    sys.argv = [str(known[name]), *sys.argv[2:]]
    sys.path.insert(0, str(known[name].parent))
    runpy.run_path(str(known[name]), run_name='__main__')
