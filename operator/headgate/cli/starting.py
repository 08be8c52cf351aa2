"""`headgate new upstream`: a starting YAML for one API, made from its provider's profile.

What it prints is found valid by `headgate validate` as it stands; what a user has to think about is there as a comment.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from headgate.cli.fail import Failure
from headgate.cli.inputs import profiles
from headgate.cli.providing import one_of
from headgate.providers.profile import Option, Profile

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?")


def upstream(provider: str, name: str | None, namespace: str, hostname: str | None, options: Sequence[str]) -> None:
    """Print the YAML on standard output, and what to do next on standard error."""
    profile = one_of(profiles(), provider)
    name = name or profile.name
    _check(name, "the name")
    _check(namespace, "the namespace")
    if hostname is not None and not _HOST.fullmatch(hostname):
        raise Failure(f"--hostname {hostname}: write a host name without scheme, port and path", code=2)
    given = _options(profile, options)
    print("\n".join(_documents(profile, name, namespace, hostname, given)))
    more = [*(["--hostname", hostname] if hostname else []), *(part for each in options for part in ("--option", each))]
    _say_next(profile, name, namespace, more)


def _check(text: str, what: str) -> None:
    if not _LABEL.fullmatch(text):
        raise Failure(f"{what} {text} becomes part of a host name: use at most 63 of a-z, 0-9 and -", code=2)


def _options(profile: Profile, texts: Sequence[str]) -> dict[str, str]:
    known = {option.name: option for option in profile.options}
    given: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        option = known.get(key)
        if option is None:
            names = ", ".join(known) or "none"
            raise Failure(f"--option {text}: the provider {profile.name} takes {names}", code=2)
        values = [each.strip() for each in value.split(",")] if option.many else [value.strip()]
        if not equals or not all(re.fullmatch(option.pattern, each) for each in values):
            raise Failure(f"--option {key}: {option.description}, such as {key}={shlex.quote(option.example)}", code=2)
        given[key] = ", ".join(values)
    return given


def _documents(
    profile: Profile, name: str, namespace: str, hostname: str | None, given: Mapping[str, str]
) -> Iterator[str]:
    yield from _upstream(profile, name, namespace, hostname, given)
    yield "---"
    yield from _retries(profile, name, namespace)
    yield "---"
    yield from _breaker(name, namespace)
    yield "---"
    yield from _limit(profile, name, namespace)


def _upstream(
    profile: Profile, name: str, namespace: str, hostname: str | None, given: Mapping[str, str]
) -> Iterator[str]:
    yield f"# {profile.title or profile.name}{f': {profile.documentation}' if profile.documentation else ''}"
    yield from _head("UpstreamService", name, namespace)
    yield f"  provider: {profile.name}"
    if hostname is not None:
        yield f"  hostname: {hostname}"
    elif profile.host is None:
        yield "  hostname: api.example.com # where it is"
    yield from _option_lines(profile, given, needed=hostname is None)
    yield "  credentials:"
    yield "    - name: default"
    yield f"      secretRef: {{name: {name}-key, key: apiKey}}"


def _option_lines(profile: Profile, given: Mapping[str, str], *, needed: bool) -> Iterator[str]:
    lines = [line for option in profile.options for line in _option_line(option, given.get(option.name), needed)]
    if not lines:
        return
    # With nothing but comments below it the key would be null.
    commented = all(line.lstrip().startswith("#") for line in lines)
    yield "  # providerOptions:" if commented else "  providerOptions:"
    yield from lines


def _option_line(option: Option, value: str | None, needed: bool) -> Iterator[str]:
    shown = _scalar(value if value is not None else option.example)
    if value is not None or (option.required and needed):
        yield f"    {option.name}: {shown} # {option.description}"
    else:
        yield f"    # {option.name}: {shown} # {option.description}"


def _scalar(text: str) -> str:
    """A YAML string that is read as one."""
    return text if re.fullmatch(r"[A-Za-z][-A-Za-z0-9._, ]*", text) and ": " not in text else f'"{text}"'


def _retries(profile: Profile, name: str, namespace: str) -> Iterator[str]:
    yield "# Which failed calls are made again. The provider's own wish to wait is kept to, up to maxInterval."
    yield from _head("RetryPolicy", name, namespace)
    yield from _target(name)
    yield "  attempts: 2"
    yield "  rateLimitedBackOff: {maxInterval: 20s}"
    if profile.retry.safe_methods:
        yield f"  # methods besides the idempotent ones: {', '.join(profile.retry.safe_methods)}, known to be safe here"


def _breaker(name: str, namespace: str) -> Iterator[str]:
    yield "# When to leave a failing part of the API alone, and for how long."
    yield from _head("CircuitBreaker", name, namespace)
    yield from _target(name)
    yield "  consecutiveFailures: 5"
    yield "  breakDuration: 10s"


def _limit(profile: Profile, name: str, namespace: str) -> Iterator[str]:
    yield "# How many calls it gets. Set it to what your contract or plan allows."
    yield from _head("RateLimit", name, namespace)
    yield from _target(name)
    yield "  rules:"
    quota = profile.quotas[0] if profile.quotas else None
    if quota is None:
        yield "    - name: all"
        yield "      limit: {requests: 600, interval: 1m}"
    else:
        yield f"    - name: {quota.name} # {quota.said}"
        yield f"      limit: {{requests: {quota.requests}, interval: {quota.interval}}}"
    yield "      burst: 50"


def _head(kind: str, name: str, namespace: str) -> Iterator[str]:
    yield "apiVersion: headgate.dev/v1alpha1"
    yield f"kind: {kind}"
    yield f"metadata: {{name: {name}, namespace: {namespace}}}"
    yield "spec:"


def _target(name: str) -> Iterator[str]:
    yield f"  targetRefs: [{{kind: UpstreamService, name: {name}}}]"


def _say_next(profile: Profile, name: str, namespace: str, more: Sequence[str]) -> None:
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_API_KEY"
    variable = variable if variable[0].isalpha() else f"MY_{variable}"
    secret = f"--secret {namespace}/{name}-key/apiKey=env:{variable}"
    lines = [
        "",
        "Next: serve the folder of this file, with the key from the environment (or with --simulate instead of --secret):",
        f"  export {variable}=...",
        f"  headgate run -f apis {secret}",
    ]
    if sys.stdout.isatty():  # it was only looked at so far
        again = shlex.join(["headgate", "new", "upstream", name, "--provider", profile.name, "-n", namespace, *more])
        lines[1:2] = [
            "Next: save this in a folder, and serve that, with the key from the environment (or with --simulate instead):",
            f"  mkdir -p apis && {again} > apis/{name}.yaml",
        ]
    print("\n".join(lines), file=sys.stderr)
