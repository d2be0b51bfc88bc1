"""Checks an SBOM against CycloneDX's own schema, which comes with its library: `sbom.py FILE`."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

validator = JsonStrictValidator(SchemaVersion.V1_6)
text = Path(sys.argv[1]).read_text()
wrong = validator.validate_str(text)
if wrong:
    sys.exit(f"{sys.argv[1]}: {wrong}")
if not validator.validate_str(text.replace('"library"', '"librar"')):
    sys.exit("the schema accepts a misspelt word: nothing was checked")
print(f"{sys.argv[1]} keeps to CycloneDX 1.6")
