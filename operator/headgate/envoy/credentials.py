"""Credentials as upstream filters: the provider sees the gateway's, never the caller's. Pure.

What a caller sent under the same names is gone before these filters run (the route and the gateway's own filter strip
it). Headers are injected straight from SDS. For query parameters and cookies the value is injected into an internal
header first, put from there into its place by `script.py`, and `hygiene_filter` removes the header.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2
from envoy.extensions.matching.input_matchers.metadata.v3 import metadata_pb2 as metadata_matcher_pb2
from envoy.type.matcher.v3 import string_pb2, value_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from headgate.envoy.metadata import INTERNAL_REQUEST_PREFIXES, INTERNAL_RESPONSE_PREFIXES, YIELD_NAMESPACE
from headgate.envoy.pack import any_of, extension
from headgate.envoy.secret import form_name, sds
from headgate.model.plan import Credential, CredentialPlace

if TYPE_CHECKING:
    from google.protobuf.message import Message

_CARRIER = "x-hg-credential-{}"


def credential_filters(credentials: tuple[Credential, ...]) -> Iterator[hcm_pb2.HttpFilter]:
    """The filters that inject, in order; none without credentials."""
    for index, credential in enumerate(credentials):
        injector = _injector(form_name(credential), _target(index, credential))
        yield _where_allowed(credential.key.lower(), injector) if credential.yields else injector


def carried(credentials: tuple[Credential, ...], place: CredentialPlace) -> tuple[tuple[str, str], ...]:
    """Credentials of this place (not a header): the name there, and the internal header that has the value by then."""
    return tuple((each.key, _target(index, each)) for index, each in enumerate(credentials) if each.place is place)


def _target(index: int, credential: Credential) -> str:
    return credential.key if credential.place is CredentialPlace.HEADER else _CARRIER.format(index)


@cache
def hygiene_filter() -> hcm_pb2.HttpFilter:
    """The last filter on the way out and the first on the way in: internal headers stay inside. Callers must not change the
    message: it is shared."""
    mutations = header_mutation_pb2.Mutations(
        request_mutations=[_remove(prefix) for prefix in INTERNAL_REQUEST_PREFIXES],
        response_mutations=[_remove(prefix) for prefix in INTERNAL_RESPONSE_PREFIXES],
    )
    return _mutation_filter("headgate.hygiene", mutations)


def _injector(secret: str, header: str) -> hcm_pb2.HttpFilter:
    generic = generic_pb2.Generic(credential=sds(secret), header=header)
    injector = credential_injector_pb2.CredentialInjector(
        overwrite=True,
        allow_request_without_credential=False,
        credential=extension("envoy.http.injected_credentials.generic", generic),
    )
    return hcm_pb2.HttpFilter(name="envoy.filters.http.credential_injector", typed_config=any_of(injector))


def _where_allowed(header: str, injector: hcm_pb2.HttpFilter) -> hcm_pb2.HttpFilter:
    """The injector, passed over unless the gateway's own filter has said that the caller sent nothing of its own.

    Not `overwrite: false`: attempts share their headers, so that the second one would find what the first one injected,
    and after a rotation send the old value beside another credential's new one.
    """
    said = network_inputs_pb2.DynamicMetadataInput(
        filter=YIELD_NAMESPACE, path=[network_inputs_pb2.DynamicMetadataInput.PathSegment(key=header)]
    )
    true = metadata_matcher_pb2.Metadata(value=value_pb2.ValueMatcher(bool_match=True))
    predicate = matcher_pb2.Matcher.MatcherList.Predicate
    allowed = predicate.SinglePredicate(
        input=_xds_extension("envoy.matching.inputs.dynamic_metadata", said),
        custom_match=_xds_extension("envoy.matching.matchers.metadata_matcher", true),
    )
    skip = matcher_pb2.Matcher.OnMatch(action=_xds_extension("skip", skip_action_pb2.SkipFilter()))
    unless = matcher_pb2.Matcher.MatcherList.FieldMatcher(
        predicate=predicate(not_matcher=predicate(single_predicate=allowed)), on_match=skip
    )
    wrapped = extension_matcher_pb2.ExtensionWithMatcher(
        xds_matcher=matcher_pb2.Matcher(matcher_list=matcher_pb2.Matcher.MatcherList(matchers=[unless])),
        extension_config=extension_pb2.TypedExtensionConfig(name=injector.name, typed_config=injector.typed_config),
    )
    return hcm_pb2.HttpFilter(name=injector.name, typed_config=any_of(wrapped))


def _xds_extension(name: str, message: Message) -> xds_extension_pb2.TypedExtensionConfig:
    return xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=any_of(message))


def _remove(prefix: str) -> mutation_rules_pb2.HeaderMutation:
    matcher = string_pb2.StringMatcher(prefix=prefix, ignore_case=True)
    return mutation_rules_pb2.HeaderMutation(
        remove_on_match=mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=matcher)
    )


def _mutation_filter(name: str, mutations: header_mutation_pb2.Mutations) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(name=name, typed_config=any_of(header_mutation_pb2.HeaderMutation(mutations=mutations)))
