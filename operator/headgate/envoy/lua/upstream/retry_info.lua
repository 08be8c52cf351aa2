-- Reads `google.rpc.RetryInfo` from the JSON body of a refusal. Loaded before retry.lua where the provider gives its hint
-- that way.

-- Bytes: a longer body is passed on unread.
local LONGEST = 262144

function body_hint(handle, headers)
  local kind = headers:get("content-type")
  local length = tonumber(headers:get("content-length") or "0")
  if not kind or not string.find(string.lower(kind), "json", 1, true) or length > LONGEST then
    return nil
  end
  local body = handle:body()
  local text = body and body:getBytes(0, body:length())
  if not text or not string.find(text, "google.rpc.RetryInfo", 1, true) then
    return nil
  end
  local seconds = string.match(text, '"retryDelay"%s*:%s*"(%d+%.?%d*)s"')
  return seconds and tonumber(seconds) * 1000
end
