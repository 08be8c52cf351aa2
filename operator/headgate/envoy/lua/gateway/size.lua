-- What a provider refuses for its size, refused here: at once and in plain words, where its own edge would answer with
-- something that clients take for an outage and repeat.

local sizes = {}
do
  local function too_long(status, code, what, size, bound, section)
    return reply.refusal(status, code,
      what .. " " .. string.format("%d", size) .. " bytes; this section takes " .. string.format("%d", bound),
      { { "section", section.id }, { "bytes", size }, { "limit", bound } })
  end

  -- Names and values with four bytes a line (colon, blank, end of line).
  local function header_bytes(headers)
    local total = 0
    for name, value in pairs(headers) do
      if name == ":authority" then
        total = total + #"host" + #value + 4
      elseif name:sub(1, 1) ~= ":" then
        total = total + #name + #value + 4
      end
    end
    return total
  end

  -- The refusal of a call that is too large, or nil. `target` is the path as the caller wrote it. A body of undeclared
  -- length passes.
  function sizes.examine(headers, target, section)
    local bound = section.max_head
    if bound and #target > bound then
      return too_long(414, "UriTooLong", "the request target has", #target, bound, section)
    end
    local head = bound and #target + header_bytes(headers)
    if head and head > bound then
      return too_long(431, "HeadTooLarge", "the request target and the headers have", head, bound, section)
    end
    bound = section.max_body
    local length = bound and tonumber(headers:get("content-length") or "")
    if length and length > bound then
      return too_long(413, "BodyTooLarge", "the request body has", length, bound, section)
    end
  end
end
