"""What was restored already, and from what."""

import json
from pathlib import Path
from typing import Dict

from mmsampriors.files import sha256_of, write_whole

FOLDER = '.restored'


class Records:
    """One small file for each result, in a hidden folder beside them; several processes may share it.

    Args:
        out (str | Path): The folder of results.
        made_by (dict): What the results depend on beside the photograph, such as the network's identity.
    """

    def __init__(self, out, made_by: Dict):
        self.out, self.made_by = Path(out), made_by

    def is_done(self, source: Path, results: Dict[str, Path]) -> bool:
        """Whether the files of the results were made of this photograph in this way, and are as they were written.

        Args:
            source (Path): The photograph.
            results (dict[str, Path]): The files by kind, below the folder of results.
        """
        try:
            written = json.loads(self._file(results).read_text())
            now = self._record(source, results)
        except (OSError, ValueError):  # something is not there, or no record of ours
            return False
        # More may have been made then than is asked for now.
        hashes = {kind: written.get('results', {}).get(kind) for kind in results}
        return {**written, 'results': hashes} == now

    def add(self, source: Path, results: Dict[str, Path]):
        """Notes that the results are written."""
        write_whole(self._file(results), json.dumps(self._record(source, results), indent=1))

    def _record(self, source, results):
        hashes = {kind: sha256_of(self.out / name) for kind, name in results.items()}
        return dict(photograph=sha256_of(source), results=hashes, made_by=self.made_by)

    def _file(self, results):
        name = results['restored']
        return self.out / FOLDER / name.with_name(f'{name.name}.json')
