"""What Kubernetes makes of a manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping


def expanded(argument: str, variables: Mapping[str, str]) -> str:
    """An argument as the container gets it: `$$` is a dollar, `$(NAME)` a variable that there is, all else stays."""
    return re.sub(
        r"\$\$|\$\(([A-Za-z_]\w*)\)",
        lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]),
        argument,
    )
