-- Credentials that yield to the caller's own (`Credential.yields`): a user's token passes, and the gateway's credential
-- goes in only where the caller sent nothing, or repeated there what it sent as its key.
--
-- What is no copy passes as it came, and beside it nothing is put in: several headers of the name, an empty one, another
-- scheme, a token that is nobody's key. So a mistake here costs the caller a refusal by the provider; it never makes of a
-- user's call one with the gateway's key. That it may go in is said in dynamic metadata, which each attempt reads anew.

local yielding = {}
do
  local function trimmed(text)
    return text:match("^[ \t]*(.-)[ \t]*$")
  end

  -- What follows the prefix; nil where it isn't there. Scheme names are the same in upper and lower case, and blanks after
  -- them may be many.
  local function bare(text, prefix)
    local word = trimmed(prefix)
    local rest = text:sub(#word + 1)
    if word == "" or text:sub(1, #word):lower() ~= word:lower() then
      return nil
    elseif word ~= prefix and not rest:find("^[ \t]") then
      return nil
    end
    return trimmed(rest)
  end

  local READ = {
    header = function(headers, name, note)
      for index = 0, headers:getNumValues(name) - 1 do
        note(headers:getAtIndex(name, index))
      end
    end,
    -- A plus sign may be a blank or itself.
    query = function(headers, name, note)
      for piece in strips.pieces(headers:get(":path")) do
        local key, value = piece:match("^([^=]*)=(.*)$")
        if key and strips.decoded(key) == name then
          note(strips.decoded(value))
          note(strips.decoded(value:gsub("+", "%%2B")))
        end
      end
    end,
    cookie = function(headers, name, note)
      for index = 0, headers:getNumValues("cookie") - 1 do
        for piece in headers:getAtIndex("cookie", index):gmatch("[^;]+") do
          local key, value = piece:match("^%s*([^=%s]*)%s*=(.*)$")
          if key == name then
            note(value)
          end
        end
      end
    end,
  }

  -- Every text that the caller sent as its key: with several, a copy of any is a copy.
  local function keys_of(headers, places)
    local keys = {}
    for _, place in ipairs(places) do
      READ[place.place](headers, place.name, function(value)
        value = trimmed(value)
        keys[value] = true
        keys[bare(value, place.prefix) or value] = true
      end)
    end
    keys[""] = nil
    return keys
  end

  local function is_copy(value, prefix, keys)
    value = trimmed(value)
    return keys[value] or keys[bare(value, prefix) or ""]
  end

  function yielding.apply(handle, headers, section)
    local keys
    for _, each in ipairs(section.yields or {}) do
      local count = headers:getNumValues(each.header)
      if count == 1 then
        keys = keys or keys_of(headers, section.keys)
        if is_copy(headers:get(each.header), each.prefix, keys) then
          headers:remove(each.header)
          count = 0
        end
      end
      if count == 0 then
        handle:streamInfo():dynamicMetadata():set(NAMES.yield_namespace, each.header, true)
      end
    end
  end
end
