"""Writes docs/errors.md: the text of each error that this package raises, and where in the code it is raised."""

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path
from typing import Iterator, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmsampriors.files import write_whole

PAGE = ROOT / 'docs' / 'errors.md'
KINDS = (
    *('ValueError', 'FileNotFoundError', 'RuntimeError', 'KeyError', 'TypeError', 'OSError', 'ModuleNotFoundError'),
    *('MaskStoreError', 'PairError', 'CorruptEntry', 'FloatingPointError'),
)
#: Functions that end a tool with their message.
ENDS = ('sys.exit', 'parser.error', 'argparse.ArgumentTypeError')
HEAD = """# All errors

Each error that this package raises itself, by the file that raises it. `…` stands for what is filled in. The page is
generated: `python .dev_scripts/list_errors.py`. [When something goes wrong](when_something_goes_wrong.md) explains the
frequent ones.
"""


def page() -> str:
    """The page in Markdown."""
    parts = [HEAD]
    for folder in ('mmsampriors', 'tools'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            found = list(errors_in(path.read_text()))
            if found and '.mim' not in path.parts:
                parts.append('\n'.join([f'## {path.relative_to(ROOT)}\n', *(_item(*one) for one in found), '']))
    return '\n'.join(parts)


def errors_in(source: str) -> Iterator[Tuple[str, str]]:
    """Kind and text of each error that a module raises with a text of its own, in the order of the file."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    for call in sorted(calls, key=lambda call: call.lineno):
        name = ast.unparse(call.func)
        if name in KINDS or name in ENDS:
            for text in texts_of(call.args[0], functions):
                yield name, text


def texts_of(node: ast.expr, functions: dict) -> List[str]:
    """The texts that an expression can be: its own, or those that a function of the module returns."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in functions:
        returned = [one.value for one in ast.walk(functions[ast.unparse(node.func)]) if isinstance(one, ast.Return)]
        return [text for value in returned if value is not None for text in texts_of(value, {})]
    text = _text(node)
    return [text] if re.search(r'\w{3}', text) else []


def _text(node) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return '…'


def _item(kind, text) -> str:
    """An error as an item of a list, with nothing in it that Markdown would read."""
    text = re.sub(r'\s+', ' ', text).strip().translate({ord(letter): f'\\{letter}' for letter in '|*_<>`[]'})
    return '\n'.join(textwrap.wrap(f'- {kind}: {text}', 120, subsequent_indent='  ', break_on_hyphens=False))


if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__).parse_args()
    write_whole(PAGE, page())
