-- Puts credentials into query and cookies. QUERY and COOKIES, written by envoy/script.py, list them: {name, header that has
-- the value}; URLS lists the headers of an answer that have a URL. Everything else stays as the caller wrote it, to the byte. Attempts share the request's headers, so doing it
-- again must change nothing.

local function decoded(text)
  return (string.gsub(string.gsub(text, "+", " "), "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function encoded(text)
  return (string.gsub(text, "[^%w%-._~]", function(byte)
    return string.format("%%%02X", string.byte(byte))
  end))
end

local function names(entries)
  local set = {}
  for _, entry in ipairs(entries) do
    set[entry[1]] = true
  end
  return set
end

local function place_query(headers)
  local path, query = string.match(headers:get(":path"), "^([^?]*)%??(.*)$")
  local ours, pieces = names(QUERY), {}
  if query ~= "" then
    for piece in string.gmatch(query .. "&", "([^&]*)&") do
      if not ours[decoded(string.match(piece, "^[^=]*"))] then
        pieces[#pieces + 1] = piece
      end
    end
  end
  for _, entry in ipairs(QUERY) do
    pieces[#pieces + 1] = encoded(entry[1]) .. "=" .. encoded(headers:get(entry[2]) or "")
  end
  headers:replace(":path", path .. "?" .. table.concat(pieces, "&"))
end

-- One Cookie header, whether the caller sent none, one or several: HTTP/1.1 has no more than one.
local function place_cookies(headers)
  local ours, pieces = names(COOKIES), {}
  for index = 0, headers:getNumValues("cookie") - 1 do
    for piece in string.gmatch(headers:getAtIndex("cookie", index), "[^;]+") do
      local trimmed = string.match(piece, "^%s*(.-)%s*$")
      if trimmed ~= "" and not ours[string.match(trimmed, "^[^=%s]*")] then
        pieces[#pieces + 1] = trimmed
      end
    end
  end
  for _, entry in ipairs(COOKIES) do
    pieces[#pieces + 1] = entry[1] .. "=" .. (headers:get(entry[2]) or "")
  end
  headers:replace("cookie", table.concat(pieces, "; "))
end

function place_credentials(headers)
  if #QUERY > 0 then
    place_query(headers)
  end
  if #COOKIES > 0 then
    place_cookies(headers)
  end
end

-- The credentials among the parts of a query: the parts as they are read, as a set.
local function ours_in(query)
  local named, found = names(QUERY), {}
  for piece in string.gmatch(query, "[^&]+") do
    if named[decoded(string.match(piece, "^[^=]*"))] then
      found[decoded(piece)] = true
    end
  end
  return found
end

-- A provider that sends the caller elsewhere may repeat the query it was asked with, and with it the key.
function hide_credentials(handle)
  local headers, ours = handle:headers(), nil
  for _, name in ipairs(#QUERY > 0 and URLS or {}) do
    local base, query, rest = string.match(headers:get(name) or "", "^([^?#]*)%?([^#]*)(.*)$")
    if base then
      ours = ours or ours_in(string.match(handle:requestHeaders():get(":path") or "", "%?(.*)$") or "")
      local kept = {}
      for piece in string.gmatch(query .. "&", "([^&]*)&") do
        if not ours[decoded(piece)] then
          kept[#kept + 1] = piece
        end
      end
      local left = table.concat(kept, "&")
      if left ~= query then
        headers:replace(name, base .. (left ~= "" and "?" .. left or "") .. rest)
      end
    end
  end
end
