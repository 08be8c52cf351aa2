-- URLs of the provider's own in answers, rewritten so that the caller stays at the gateway: an upload continues here, a
-- redirect is followed here. Same form as the call came in, base path taken off. What can't be expressed at the gateway
-- keeps its meaning: an absolute URL stays as it is, a path becomes the provider's absolute URL.

local rewriting = {}
do
  local DEFAULT_PORT = { http = "80", https = "443" }

  local function without_default_port(scheme, authority)
    local host, port = authority:match("^(.-):(%d+)$")
    return port == DEFAULT_PORT[scheme] and host or authority
  end

  -- The path and query behind the provider's base path, or nil.
  local function below_base(base, rest)
    if rest:sub(1, 1) ~= "/" then
      rest = "/" .. rest
    end
    if base == "" then
      return rest
    end
    if rest:sub(1, #base) ~= base then
      return nil
    end
    local tail = rest:sub(#base + 1)
    local first = tail:sub(1, 1)
    if first == "/" then
      return tail
    elseif first == "" or first == "?" or first == "#" then
      return "/" .. tail
    end
    return nil
  end

  -- `call` is {origin = "http://host", prefix = "" or "/ns/name"}.
  function rewriting.url(value, section, call)
    local scheme, authority, rest = value:match("^(%a+)://([^/?#]*)(.*)$")
    if not scheme and value:sub(1, 2) == "//" then
      scheme, authority, rest = section.scheme, value:match("^//([^/?#]*)(.*)$")
    end
    if scheme then
      scheme = scheme:lower()
      if not section.authorities[without_default_port(scheme, authority:lower())] then
        return value
      end
      local path = below_base(section.base, rest)
      return path and call.origin .. call.prefix .. path or value
    end
    if value:sub(1, 1) ~= "/" then
      return value -- relative to the caller's own URL: right in both forms
    end
    local path = below_base(section.base, value)
    if path then
      return call.prefix .. path
    end
    return section.authority and section.scheme .. "://" .. section.authority .. value or value
  end

  function rewriting.headers(headers, section, call)
    for _, name in ipairs(CONFIG.url_headers) do
      local value = headers:get(name)
      if value then
        local changed = rewriting.url(value, section, call)
        if changed ~= value then
          headers:replace(name, changed)
        end
      end
    end
  end
end
