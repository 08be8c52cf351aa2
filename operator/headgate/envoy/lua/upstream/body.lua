-- Reads the body of an answer, for a hint or a mark in it. Loaded, after inflate.lua, where the provider puts one there.

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

-- The text of a JSON body; nil where it can't be read. The headers object is dead after this. Envoy gives up an answer that
-- is longer than its buffer and has not said so: then the gateway's own filter tells what `unread` has noted.
function body_text(handle, headers)
  local encoding = readable(headers)
  if not encoding then
    return nil
  end
  handle:streamInfo():dynamicMetadata():set("headgate.attempt", "unread", headers:get(":status"))
  local body = handle:body()
  local text = body and body:length() <= LONGEST and body:getBytes(0, body:length())
  if text and encoding ~= "identity" then
    text = inflated(text, encoding, LONGEST)
  end
  return text or nil
end
