-- Takes a caller's own credentials out of query and cookies. Names are read as a provider reads them (`k%65y` is `key`);
-- what stays, stays as it was written, in its order.

local strips = {}
do
  -- One part of a query as it is read: `+` is a blank.
  function strips.decoded(text)
    local plain = text:gsub("+", " "):gsub("%%(%x%x)", function(hex)
      return string.char(tonumber(hex, 16))
    end)
    return plain
  end

  -- The parts of a target's query, as they were written.
  function strips.pieces(target)
    local mark = target:find("?", 1, true)
    return ((mark and target:sub(mark + 1) or "") .. "&"):gmatch("([^&]*)&")
  end

  local function strip_query(headers, names)
    local target = headers:get(":path")
    local mark = target:find("?", 1, true)
    if not mark then
      return
    end
    local kept, found = {}, false
    for piece in strips.pieces(target) do
      if names[strips.decoded(piece:match("^[^=]*"))] then
        found = true
      else
        kept[#kept + 1] = piece
      end
    end
    if found then
      local rest = #kept > 0 and "?" .. table.concat(kept, "&") or ""
      headers:replace(":path", target:sub(1, mark - 1) .. rest)
    end
  end

  local function strip_cookies(headers, names)
    local kept, found = {}, false
    for index = 0, headers:getNumValues("cookie") - 1 do
      for piece in headers:getAtIndex("cookie", index):gmatch("[^;]+") do
        if names[piece:match("^%s*([^=%s]*)")] then
          found = true
        else
          kept[#kept + 1] = piece:match("^%s*(.-)%s*$")
        end
      end
    end
    if found and #kept > 0 then
      headers:replace("cookie", table.concat(kept, "; "))
    elseif found then
      headers:remove("cookie")
    end
  end

  -- `query` and `cookies` are sets of names, nil where there are none.
  function strips.apply(headers, section)
    if section.strip_query then
      strip_query(headers, section.strip_query)
    end
    if section.strip_cookies then
      strip_cookies(headers, section.strip_cookies)
    end
  end
end
