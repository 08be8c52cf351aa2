-- What the gateway itself answers: one JSON shape for all of it, `{"error": {"code", "status", "message", ...}, "code",
-- "message"}`. Twice, for SDKs look for them in one of these places or the other (Supabase's at the top).
-- `x-should-retry: false` keeps SDKs that know the header from repeating what the gateway has already decided. All but the
-- refusals that a caller does well to wait out: those leave it to `Retry-After`.

local reply = {}
do
  local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

  local function quoted(text)
    text = text:gsub('[%z\1-\31\127-\255"\\]', function(c)
      return ESCAPES[c] or string.format("\\u%04x", c:byte())
    end)
    return '"' .. text .. '"'
  end

  -- What a caller sent, short enough to be repeated to it.
  function reply.excerpt(text)
    return #text > 100 and text:sub(1, 100) .. "..." or text
  end

  -- `details` is an array of {name, string or number}, in the order in which they are to be read.
  function reply.body(status, code, message, details)
    local parts = { '{"error":{"code":', quoted(code), ',"status":', status, ',"message":', quoted(message) }
    for _, detail in ipairs(details or {}) do
      local value = detail[2]
      if value ~= nil and value ~= "" then
        parts[#parts + 1] = "," .. quoted(detail[1]) .. ":"
        parts[#parts + 1] = type(value) == "number" and string.format("%d", value) or quoted(value)
      end
    end
    parts[#parts + 1] = '},"code":' .. quoted(code) .. ',"message":' .. quoted(message) .. "}\n"
    return table.concat(parts)
  end

  -- A refusal as a value: main.lua sends it. `wait_ms` nil means that trying again is no use. `may_wait`: the caller may
  -- come back by itself after that time.
  function reply.refusal(status, code, message, details, wait_ms, may_wait)
    local seconds = wait_ms and math.max(1, math.ceil(wait_ms / 1000))
    details = details or {}
    details[#details + 1] = { "retryAfterSeconds", seconds }
    return {
      status = status,
      code = code,
      retry_after = seconds,
      may_wait = may_wait,
      body = reply.body(status, code, message, details),
    }
  end

  function reply.send(handle, refusal)
    handle:stats():counter("refused." .. refusal.code):inc()
    -- Tells local_reply_config that this body is ours already.
    handle:streamInfo():dynamicMetadata():set(NAMES.call_namespace, "own", true)
    local headers = {
      [":status"] = tostring(refusal.status),
      ["content-type"] = "application/json",
    }
    if not refusal.may_wait then
      headers["x-should-retry"] = "false"
    end
    if refusal.retry_after then
      headers["retry-after"] = tostring(refusal.retry_after)
    end
    handle:respond(headers, refusal.body)
  end
end
