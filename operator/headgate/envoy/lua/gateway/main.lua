-- The two ends of a call. The metadata of a route names its section; everything that is known of it comes with the
-- metadata of the virtual host, the upstream's. State is kept in this VM by section id and by limit id, so it outlives
-- every edit of routes and clusters. It is lost with the VM: when the listener's own filter chain changes.

local sections = {} -- id -> {id, version, upstream, ..., state}
local swept = 0
local SWEEP_EVERY, FORGET_AFTER = 60000, 3600000

-- A section that no call has reached for an hour and whose breaker is closed is as good as a new one.
local function sweep(now)
  if now - swept < SWEEP_EVERY then
    return
  end
  swept = now
  for id, section in pairs(sections) do
    if now - section.used > FORGET_AFTER and section.state.name == "closed" then
      sections[id] = nil
    end
  end
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list or {}) do
    set[item] = true
  end
  return set
end

-- The section of the selected route; nil where there is none. Its configuration is read once per version.
local function section_of(handle, metadata, now)
  local id = metadata:get("section")
  if not id then
    return nil
  end
  local version = metadata:get("version")
  local known = sections[id]
  if known and known.version == version then
    known.used = now
    return known
  end
  local all = handle:virtualHost():metadata()
  local source = all:get(id)
  local breaker = source.breaker
  local path_tests, unreadable = matching.path_tests(all:get("paths"))
  local state = breakers.configure(known and known.state or breakers.new(now), breaker)
  sections[id] = {
    id = id,
    version = version,
    used = now,
    upstream = source.upstream,
    authorities = set_of(source.authorities),
    authority = source.authorities and source.authorities[1],
    scheme = source.scheme,
    base = source.base or "",
    upgrades = set_of(source.upgrades),
    strip_query = source.strip_query and set_of(source.strip_query),
    strip_cookies = source.strip_cookies and set_of(source.strip_cookies),
    yields = source.yields,
    keys = source.keys,
    max_body = source.max_request_body,
    max_head = source.max_request_head,
    breaker = breaker,
    limits = limits.compile(source.limits),
    path_tests = path_tests,
    unreadable = unreadable,
    state = state,
  }
  return sections[id]
end

local function bad_path(fault)
  return reply.refusal(400, "BadPath", fault)
end

-- Whether both readings of a path lead to the same section, whatever methods and headers the routes ask for: each path
-- that any route of the upstream matches on must match both readings or neither.
local function unambiguous(section, path, reading)
  for _, test in ipairs(section.path_tests) do
    if test(path) ~= test(reading) then
      return false
    end
  end
  return not section.unreadable
end

-- Selects the upstream and the section. The internal header has done its work then and is taken off again. Envoy gives
-- the metadata of a newly selected route once per call: this is the one time.
local function select(handle, headers, call, now)
  headers:replace(NAMES.scope_header, call.scope)
  if call.prefix ~= "" then
    headers:replace(":path", call.target)
  end
  handle:clearRouteCache()
  local metadata = handle:metadata()
  local section = section_of(handle, metadata, now)
  call.trial_bound = section and section.breaker and metadata:get("trial_bound")
  headers:remove(NAMES.scope_header)
  if not section then
    return nil, addresses.unknown(call)
  end
  if call.reading and not unambiguous(section, call.path, call.reading) then
    return nil, bad_path("this path leads to another section once '//' and escapes are read: write it plainly")
  end
  return section
end

local function addressed(headers)
  local method = headers:get(":method")
  if method == "TRACE" or method == "CONNECT" then
    return nil, reply.refusal(405, "MethodNotAllowed", method .. " is not passed on")
  end
  local target = headers:get(":path") or ""
  local fault = paths.examine(target)
  if fault then
    return nil, bad_path(fault)
  end
  local authority = headers:get(":authority") or ""
  local call, refusal = addresses.resolve(authority, target)
  if not call then
    return nil, refusal
  end
  call.method, call.headers, call.authority, call.written = method, headers, authority, target
  call.path = paths.split(call.target)
  return call
end

-- What the answer has to know of its call, as one text: a table would cost twenty times as much to read back.
local function written(call, ticket, generation)
  return ticket .. "|" .. generation .. "|" .. call.prefix .. "|" .. call.authority
end

local function read(text)
  local ticket, generation, prefix, authority = text:match("^(%d+)|(%d+)|([^|]*)|(.*)$")
  return {
    ticket = tonumber(ticket),
    generation = tonumber(generation),
    prefix = prefix,
    origin = CONFIG.scheme .. "://" .. authority,
  }
end

-- Limits and breaker: all are looked at before any is spent, so a refused call costs nothing.
local function policed(handle, section, call, now)
  local state, breaker = section.state, section.breaker
  local wait = breakers.wait(state, breaker, now)
  if wait then
    return breakers.refusal(state, section, wait, clock.wall(handle))
  end
  if #section.limits > 0 then
    local buckets, limit, longest = limits.check(section.limits, call, now)
    if limit then
      return limits.refusal(limit, longest, section.id)
    end
    limits.take(buckets)
  end
  local ticket = breakers.admit(state, breaker, now, call.trial_bound)
  handle:streamInfo():dynamicMetadata():set(NAMES.call_namespace, "call", written(call, ticket, state.generation))
end

local function on_request(handle)
  local headers, now = handle:headers(), clock.now()
  sweep(now)
  local call, refusal = addressed(headers)
  if not call then
    return refusal
  end
  local _, reading = paths.examine(call.target)
  call.reading = reading
  local section
  section, refusal = select(handle, headers, call, now)
  if not section then
    return refusal
  end
  local upgrade = headers:get("upgrade")
  if upgrade and not section.upgrades[upgrade:lower()] then
    return reply.refusal(403, "UpgradeRefused", "this section does not allow the upgrade to " .. reply.excerpt(upgrade),
      { { "section", section.id } })
  end
  for _, name in ipairs(CONFIG.drop_request_headers) do
    headers:remove(name)
  end
  refusal = sizes.examine(headers, call.written, section)
  if refusal then
    return refusal
  end
  refusal = yielding.apply(handle, headers, section) -- before the keys that it compares with are gone
  if refusal then
    return refusal
  end
  strips.apply(headers, section)
  refusal = policed(handle, section, call, now)
  reports.emit(handle, section, now)
  return refusal
end

function envoy_on_request(handle)
  -- An error in here must not let a call pass unexamined, which is what Envoy would do.
  local fine, refusal = pcall(on_request, handle)
  if not fine then
    handle:logErr("gateway.lua: " .. tostring(refusal))
    refusal = reply.refusal(500, "InternalError", "the gateway failed to examine this call")
  end
  if refusal then
    reply.send(handle, refusal)
  end
end

-- What counts as failed in the reports of a section without a breaker.
local SERVER_ERRORS = { { 500, 599 } }

local function failed_status(breaker, status)
  for _, range in ipairs(breaker and breaker.failures or SERVER_ERRORS) do
    if status >= range[1] and status <= range[2] then
      return "Status" .. status
    end
  end
end

-- The code of an answer that Envoy made, and the failure that it means for the breaker; and the status of the answer.
local function judged(handle, headers, section, status)
  local made = headers:get(NAMES.local_header)
  if not made then
    return nil, failed_status(section and section.breaker, status), status
  end
  local found = failures.read(made, status)
  if found.code == "AnswerTooLarge" then
    -- In the middle of the provider's answer: its status is still known, and tells a client more than ours.
    local seen = handle:streamInfo():dynamicMetadata():get(NAMES.attempt_namespace)
    local native = tonumber(seen and seen.unread or "")
    if native then
      headers:replace(":status", tostring(native))
      return found, failed_status(section and section.breaker, native), native
    end
  end
  return found, found.provider and found.code or nil, status
end

local function on_response(handle)
  local headers = handle:headers()
  local kept = handle:streamInfo():dynamicMetadata():get(NAMES.call_namespace) or {}
  local section = sections[handle:metadata():get("section") or ""]
  local status = tonumber(headers:get(":status")) or 0
  local made, failure
  made, failure, status = judged(handle, headers, section, status)
  if section and kept.call and not (status >= 100 and status < 200 and status ~= 101) then
    local now, call = clock.now(), read(kept.call)
    breakers.result(section.state, section.breaker, call.generation, call.ticket, failure, now)
    reports.emit(handle, section, now)
    if not made then
      rewriting.headers(headers, section, call)
    end
  end
  if made then
    headers:remove(NAMES.local_header)
    if not kept.own then
      headers:replace("x-should-retry", "false")
    end
  end
  if made and not kept.own then
    return made, section, status
  end
end

-- Envoy's own answers get the gateway's shape. Only they are buffered: they are short and complete.
local function explain(handle, made, section, status)
  local request = handle:requestHeaders()
  if request and (request:get(":method") == "HEAD" or (request:get("content-type") or ""):find("^application/grpc")) then
    return
  end
  local details = section and { { "section", section.id }, { "upstream", section.upstream } }
  local body = handle:body(true)
  body:setBytes(reply.body(status, made.code, made.words, details))
  handle:headers():replace("content-type", "application/json")
end

function envoy_on_response(handle)
  local fine, made, section, status = pcall(on_response, handle)
  if not fine then
    handle:logErr("gateway.lua: " .. tostring(made))
  elseif made then
    explain(handle, made, section, status)
  end
end
