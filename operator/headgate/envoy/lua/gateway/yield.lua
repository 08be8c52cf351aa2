-- Credentials that yield to the caller's own (`Credential.yields`): a user's token passes, and the gateway's credential
-- goes in only where the caller sent nothing, or repeated there what it sent as its key.
--
-- What is no copy passes if it can be read as the caller's own: the prefix and one word. It is written out as the prefix is
-- declared. All else there is refused: several headers of the name, an empty one, another scheme, `Bearer` with nothing
-- after it. For a provider may take what it can't read for nothing, and nothing for its leave to go by the key: Supabase's
-- own gateway does so with `bearer` in lower case. So a mistake here costs the caller a refusal; it never makes of a user's
-- call one with the gateway's key. That the credential may go in is said in dynamic metadata, which each attempt reads anew.

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

  -- The caller's own value as the provider is to see it; nil where it can't be told what it is.
  local function own(value, prefix)
    if trimmed(prefix) == "" then
      return trimmed(value) ~= "" and value or nil
    end
    local word = bare(value, prefix)
    return word and word:find("^[^ \t,]+$") and prefix .. word or nil
  end

  local function unreadable(each, section)
    local form = each.prefix == "" and "" or " as '" .. each.prefix .. "...'"
    return reply.refusal(401, "CredentialUnreadable", "the header " .. each.header .. " holds neither one token of the caller's"
      .. form .. " nor a copy of its key", { { "section", section.id } })
  end

  -- Returns a refusal, or nil.
  function yielding.apply(handle, headers, section)
    local keys
    for _, each in ipairs(section.yields or {}) do
      local count = headers:getNumValues(each.header)
      if count > 0 then
        local value = count == 1 and headers:get(each.header)
        keys = keys or keys_of(headers, section.keys)
        if value and is_copy(value, each.prefix, keys) then
          headers:remove(each.header)
          count = 0
        else
          local written = value and own(value, each.prefix)
          if not written then
            return unreadable(each, section)
          end
          headers:replace(each.header, written)
        end
      end
      if count == 0 then
        handle:streamInfo():dynamicMetadata():set(NAMES.yield_namespace, each.header, true)
      end
    end
  end
end
