-- Reads `google.rpc.RetryInfo` from the JSON body of a refusal. Loaded where the provider gives its hint that way.

-- Milliseconds; nil without a hint.
function body_hint(text)
  if not string.find(text, "google.rpc.RetryInfo", 1, true) then
    return nil
  end
  local seconds = string.match(text, '"retryDelay"%s*:%s*"(%d+%.?%d*)s"')
  return seconds and tonumber(seconds) * 1000
end
