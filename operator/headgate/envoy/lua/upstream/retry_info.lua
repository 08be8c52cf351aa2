-- Reads `google.rpc.RetryInfo` from the JSON body of a refusal. Loaded, after inflate.lua and before retry.lua, where the
-- provider gives its hint that way.

-- Bytes, compressed or not: a longer body is passed on unread.
local LONGEST = 65536

local READABLE = { gzip = true, deflate = true, identity = true }

-- Of the compressions that the caller knows, the provider is offered those that can be read here.
function offer_encodings(headers)
  local accepted = headers:get("accept-encoding")
  if not accepted then
    return
  end
  local kept = {}
  for piece in string.gmatch(accepted, "[^,]+") do
    if READABLE[string.lower(string.match(piece, "^%s*([^%s;]*)"))] then
      kept[#kept + 1] = string.match(piece, "^%s*(.-)%s*$")
    end
  end
  headers:replace("accept-encoding", #kept > 0 and table.concat(kept, ", ") or "identity")
end

local function readable(headers)
  local kind = string.lower(headers:get("content-type") or "")
  local encoding = string.lower(headers:get("content-encoding") or "identity")
  local length = tonumber(headers:get("content-length") or "0") or 0
  if string.find(kind, "json", 1, true) and length <= LONGEST and READABLE[encoding] then
    return encoding
  end
end

-- Milliseconds; nil without a hint. The headers object is dead after this.
function body_hint(handle, headers)
  local encoding = readable(headers)
  local body = encoding and handle:body()
  local text = body and body:getBytes(0, body:length())
  if text and encoding ~= "identity" then
    text = inflated(text, encoding, LONGEST)
  end
  if not text or not string.find(text, "google.rpc.RetryInfo", 1, true) then
    return nil
  end
  local seconds = string.match(text, '"retryDelay"%s*:%s*"(%d+%.?%d*)s"')
  return seconds and tonumber(seconds) * 1000
end
