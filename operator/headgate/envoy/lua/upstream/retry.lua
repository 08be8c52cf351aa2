-- Decides whether an answer of the provider is worth another attempt, and when.
--
-- The route's metadata (written by envoy/retry.py) has the policy; the route retries when it sees `x-hg-retry: 1`, waiting
-- `x-hg-wait` seconds (and up to half as long again) if that is there. Both come from here only: the filter that answers
-- pass before this one has removed what the provider may have sent under these names.

local POLICY = "headgate.retry"
local SEEN = "headgate.attempt"

local MONTHS = {
  Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
}

-- Seconds since 1970 of an IMF-fixdate ("Sun, 06 Nov 1994 08:49:37 GMT"); nil for anything else.
local function from_date(text)
  local day, name, year, hour, min, sec = string.match(
    text, "^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$")
  local m = name and MONTHS[name]
  if not m then
    return nil
  end
  local y = tonumber(year)
  if m <= 2 then
    y, m = y - 1, m + 12
  end
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (m - 3) + 2) / 5) + tonumber(day) - 719469
  return days * 86400 + tonumber(hour) * 3600 + tonumber(min) * 60 + tonumber(sec)
end

local function now_ms(handle)
  return tonumber(handle:timestamp(EnvoyTimestampResolution.MILLISECOND))
end

-- Milliseconds until a moment. The provider's own clock (its Date header) is asked first: ours may differ.
local function until_moment(handle, headers, moment)
  local date = headers:get("date")
  local sent = date and from_date(date)
  return moment * 1000 - (sent and sent * 1000 or now_ms(handle))
end

-- Milliseconds that a header asks for, nil if it asks for nothing that we understand.
local function from_header(handle, headers, value, format)
  local number = tonumber(string.match(value, "^%s*(%d+%.?%d*)%s*$"))
  if format == "HTTPDate" or (format == "RetryAfter" and not number) then
    local moment = from_date(value)
    return moment and until_moment(handle, headers, moment)
  elseif not number then
    return nil
  elseif format == "UnixTimestamp" then
    return until_moment(handle, headers, number)
  elseif format == "Milliseconds" then
    return number
  end
  return number * 1000
end

-- The longest wait that any of the declared headers asks for.
local function header_hint(handle, headers, declared)
  local longest
  for name, format in string.gmatch(declared, "([^=,]+)=([^,]+)") do
    local value = headers:get(name)
    local wait = value and from_header(handle, headers, value, format)
    if wait and wait > 0 and (not longest or wait > longest) then
      longest = wait
    end
  end
  return longest
end

function note_attempt(handle, headers)
  local metadata = handle:streamInfo():dynamicMetadata()
  local started = headers:get("x-hg-started")
  metadata:set(SEEN, "method", headers:get(":method") or "")
  metadata:set(SEEN, "attempt", headers:get("x-envoy-attempt-count") or "1")
  -- The first attempt finds it, and it is taken off the headers then, which all attempts share; the metadata they share too.
  if started then
    metadata:set(SEEN, "started", started)
  end
end

-- Whether a wait of so many seconds ends before the caller's time is up. Envoy waits up to half as long again.
local function fits(handle, policy, seen, seconds)
  local started = tonumber(seen.started or "")
  return policy.timeout == 0 or not started or seconds * 1500 < policy.timeout - (now_ms(handle) - started)
end

local function retriable(handle, policy, status)
  local seen = handle:streamInfo():dynamicMetadata():get(SEEN)
  if string.find(policy.statuses, " " .. status .. " ", 1, true)
    and string.find(policy.methods, " " .. seen.method .. " ", 1, true) then
    return seen
  end
end

function decide(handle)
  local policy = handle:metadata():get(POLICY)
  local headers = handle:headers()
  local seen = policy and retriable(handle, policy, headers:get(":status"))
  if not seen then
    return
  end
  if tonumber(seen.attempt) > policy.attempts then
    headers:replace("x-should-retry", "false")
    return
  end
  local hint = header_hint(handle, headers, policy.headers)
  if not hint and body_hint then
    hint = body_hint(handle, headers)
    headers = handle:headers() -- The old object died with the body's arrival.
  end
  local seconds = hint and math.ceil(hint / 1000)
  if not hint then
    headers:replace("x-hg-retry", "1")
  elseif hint <= policy.hint_max and fits(handle, policy, seen, seconds) then
    headers:replace("x-hg-wait", tostring(seconds))
    headers:replace("x-hg-retry", "1")
  elseif policy.back_off then
    headers:replace("x-hg-retry", "1")
  end
end
