"""Settings of a config on the command line."""

import ast
import re

from mmengine.config import DictAction


class ConfigOptions(DictAction):
    """``--cfg-options`` that keeps the white space in a value, and takes dicts.

    mmengine 0.10.7 takes every space out of a value, so that a path with one names another place. Here white space goes
    at both ends of a value and of the elements of a list only. It makes a list of texts of ``{'a': 1, 'b': 2}``.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for option in values:
            if not re.match(r'[^=\s]+=', option):
                parser.error(
                    f'{option_string} takes KEY=VALUE, found {option!r}: a value with white space needs quotes, as in '
                    '"KEY=/my photographs/rain", and there is no white space around ='
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (SyntaxError, ValueError) as error:
            parser.error(f'{option_string} {" ".join(values)} cannot be read: {error}')

    @staticmethod
    def _parse_iterable(text: str):
        """The value that a text says: ``1,2``, ``[a, b]``, ``[(1, 2), (3, 4)]``, or a single one."""
        text = text.strip().strip('\'"').strip()
        if text.startswith('{') and ':' in text:  # else a template such as {}_x2
            return ast.literal_eval(text)
        bracketed = text[:1] + text[-1:] in ('[]', '()')
        parts = _split_at_commas(text[1:-1] if bracketed else text)
        if not bracketed and parts in ([text], []):
            return DictAction._parse_int_float_bool(text)
        parts = map(ConfigOptions._parse_iterable, parts)
        return tuple(parts) if text.startswith('(') and bracketed else list(parts)


def _split_at_commas(text: str) -> list:
    """The parts between the commas that stand in no brackets; none after a last comma."""
    parts, depth = [''], 0
    for letter in text:
        depth += (letter in '([{') - (letter in ')]}')
        if letter == ',' and not depth:
            parts.append('')
        else:
            parts[-1] += letter
    return parts if parts[-1].strip() else parts[:-1]
