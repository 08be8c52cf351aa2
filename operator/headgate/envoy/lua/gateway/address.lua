-- Which upstream a call is for: by host (`<upstream>.<namespace>`, then one of the suffixes) or, where the host is the
-- gateway's own or an address literal, by path (`/<namespace>/<upstream>/...`).

local addresses = {}
do
  -- RFC 1123 label, lower case.
  local function is_label(text)
    return #text <= 63 and text:find("^[a-z0-9]") and text:find("[a-z0-9]$") and not text:find("[^a-z0-9-]")
  end

  local function is_literal(host)
    local a, b, c, d = host:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
    if a then
      return tonumber(a) < 256 and tonumber(b) < 256 and tonumber(c) < 256 and tonumber(d) < 256
    end
    return host:find("^%[[%x:.]+%]$") ~= nil
  end

  -- Lower case, without port and without one final dot; nil where it isn't a host with an optional port.
  local function host_of(authority)
    local host = authority:match("^(%[[^%]]*%])$") or authority:match("^(%[[^%]]*%]):%d*$")
    if not host then
      host = authority:match("^([^:]+)$") or authority:match("^([^:]+):%d*$")
    end
    if not host then
      return nil
    end
    host = host:lower()
    if host:sub(-1) == "." then
      host = host:sub(1, -2)
    end
    return host
  end

  local function split_name(host)
    local name, namespace = host:match("^([^.]+)%.([^.]+)$")
    if name and is_label(name) and is_label(namespace) then
      return namespace .. "/" .. name
    end
  end

  local function by_host(host)
    local scope = split_name(host)
    if scope then
      return scope
    end
    for _, suffix in ipairs(CONFIG.suffixes) do
      local tail = "." .. suffix
      if #host > #tail and host:sub(-#tail) == tail then
        scope = split_name(host:sub(1, #host - #tail))
        if scope then
          return scope
        end
      end
    end
  end

  local function by_path(target)
    local path, query = paths.split(target)
    local namespace, name, rest = path:match("^/([^/]+)/([^/]+)(.*)$")
    if not (namespace and is_label(namespace) and is_label(name)) then
      return nil
    end
    return namespace .. "/" .. name, "/" .. namespace .. "/" .. name, (rest == "" and "/" or rest) .. query
  end

  function addresses.forms()
    local suffix = CONFIG.suffixes[1] and " (or <upstream>.<namespace>." .. CONFIG.suffixes[1] .. ")" or ""
    return "call " .. CONFIG.scheme .. "://<upstream>.<namespace>/..." .. suffix .. " or, at the gateway's own address, "
      .. CONFIG.scheme .. "://<gateway>/<namespace>/<upstream>/..."
  end

  -- The upstream of a call: {scope, prefix, target}. `prefix` is what was taken off the path, "" in host form. Or nil
  -- and a refusal. In host form a wrong name is 421: another server may own this authority. In path form it is 404: the
  -- caller has the right server, and what it asks for isn't there.
  function addresses.resolve(authority, target)
    local host = host_of(authority)
    if host and (CONFIG.hosts[host] or is_literal(host)) then
      local scope, prefix, rest = by_path(target)
      if scope then
        return { scope = scope, prefix = prefix, target = rest }
      end
      return nil, reply.refusal(404, "UnknownUpstream", "the path names no upstream: " .. addresses.forms())
    end
    local scope = host and by_host(host)
    if scope then
      return { scope = scope, prefix = "", target = target }
    end
    return nil, reply.refusal(421, "UnknownHost",
      "the host '" .. reply.excerpt(authority) .. "' names no upstream: " .. addresses.forms())
  end

  function addresses.unknown(call)
    local status = call.prefix == "" and 421 or 404
    return reply.refusal(status, "UnknownUpstream",
      "no upstream '" .. call.scope .. "' (namespace/upstream) is served here (`get upstreams` shows those that are, and"
        .. " what others lack): " .. addresses.forms(),
      { { "upstream", call.scope } })
  end
end
