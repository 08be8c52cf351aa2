-- What Envoy itself answered (no route, no connection, a timeout, ...), in words: a code for people, one for the
-- breaker's reason, and whether it means that the provider failed to answer.
--
-- local_reply_config writes `flags|details|transport failure` into NAMES.local_header of such answers; a provider's own
-- header of that name is removed by the route before it could get here.

local failures = {}
do
  -- In the order of precedence: the first flag that is set names the failure. `provider`: counts for the breaker.
  local BY_FLAG = {
    { "UO", "TooManyRequestsInFlight", false, "the section's ceiling on connections or requests is reached" },
    { "UF", "ConnectFailure", true, "no connection to the provider could be made" },
    { "UT", "RequestTimeout", true, "the provider did not answer in time" },
    { "UH", "NoHealthyEndpoint", true, "the provider's host name does not resolve, or none of its addresses takes calls" },
    { "UC", "ConnectionClosed", true, "the provider closed the connection before it answered" },
    { "UR", "Reset", true, "the provider reset the call before it answered" },
    { "LR", "Reset", true, "the call was reset before the provider answered" },
    { "UPE", "ProtocolError", true, "the provider's answer was not valid HTTP, or its headers are too large" },
    { "UMSDR", "StreamTooLong", true, "the call took longer than it may" },
    { "SI", "StreamIdle", true, "nothing was sent or received for too long" },
    { "NC", "NotProgrammed", false, "this section is not programmed yet" },
    { "NR", "NoRoute", false, "no section of the upstream takes this call" },
  }

  -- A part of Envoy's details, and what it says more exactly than the flag does.
  local BY_DETAIL = {
    { "per_try_timeout", "PerTryTimeout", true, "the last attempt was not answered in time" },
    { "connection_timeout", "ConnectTimeout", true, "the connection to the provider was not made in time" },
    { "TLS_error", "TLSFailure", true, "the TLS handshake with the provider failed" },
    { "rbac_access_denied", "AddressRefused", false, "the provider's name leads to an address that is not allowed" },
    { "failed_to_inject_credential", "CredentialMissing", false, "the credential for this call is not there" },
    { "response_payload_too_large", "AnswerTooLarge", true, "the provider's error has this status and a body too large to be examined" },
    { "request_payload_too_large", "BodyTooLarge", false, "the request body is too large to be buffered" },
    { "unexpected_underscore", "BadHeader", false, "a header's name has an underscore, which some servers read as '-'" },
    { "headers_too_large", "HeadersTooLarge", false, "request line and headers are too large" },
    { "too_many_headers", "HeadersTooLarge", false, "there are too many request headers" },
    { "overload", "GatewayOverloaded", false, "the gateway has no memory to spare for another call" },
    { "upgrade_failed", "UpgradeRefused", false, "this upgrade is not allowed" },
  }

  local function entry(row)
    return { code = row[2], provider = row[3], words = row[4] }
  end

  function failures.read(text, status)
    local flags, rest = text:match("^([^|]*)|(.*)$")
    rest = rest or ""
    for _, row in ipairs(BY_DETAIL) do
      if rest:find(row[1], 1, true) then
        return entry(row)
      end
    end
    for _, row in ipairs(BY_FLAG) do
      if ("," .. (flags or "") .. ","):find("," .. row[1] .. ",", 1, true) then
        local found = entry(row)
        -- Before the whole request has come in, Envoy says 408: the silence was the caller's.
        if row[1] == "SI" and status == 408 then
          found.provider = false
        end
        return found
      end
    end
    local details = rest:match("^([%w_.-]+)")
    local words = "the gateway refused the call" .. (details and " (" .. details .. ")" or "")
    return { code = "Refused", provider = false, words = words }
  end
end
