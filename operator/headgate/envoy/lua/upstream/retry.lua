-- Decides whether an answer of the provider is worth another attempt, and when.
--
-- The route's metadata (written by envoy/retry.py) has the policy; the route retries when it sees `x-hg-retry: 1`, waiting
-- `x-hg-wait` seconds (and up to half as long again) if that is there. Both come from here only: the filter that answers
-- pass before this one has removed what the provider may have sent under these names.

local POLICY = "headgate.retry"
local SEEN = "headgate.attempt"

-- What may ask to wait though it is not to be repeated: then the caller is told.
local SLOW_DOWN = { ["429"] = true, ["503"] = true }

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

-- Only with these does a header other than Retry-After ask to wait: many providers tell with every answer when their window
-- begins anew, and a failure in the middle of one is no reason to wait for its end.
local LIMITED = { ["403"] = true, ["429"] = true }

-- The longest wait that any of the declared headers asks for; nil without one that can be understood.
local function header_hint(handle, headers, declared, status)
  local longest
  for name, format in string.gmatch(declared, "([^=,]+)=([^,]+)") do
    local value = (LIMITED[status] or name == "retry-after") and headers:get(name)
    local wait = value and from_header(handle, headers, value, format)
    if wait then
      longest = math.max(longest or 0, wait)
    end
  end
  return longest
end

function note_attempt(handle, headers)
  local metadata = handle:streamInfo():dynamicMetadata()
  local started = headers:get("x-hg-started")
  metadata:set(SEEN, "method", headers:get(":method") or "")
  metadata:set(SEEN, "attempt", headers:get("x-envoy-attempt-count") or "1")
  metadata:set(SEEN, "unread", "")
  -- The first attempt finds it, and it is taken off the headers then, which all attempts share; the metadata they share too.
  if started then
    metadata:set(SEEN, "started", started)
  end
end

local function listed(words, word)
  return string.find(words, " " .. word .. " ", 1, true) ~= nil
end

-- Whether a wait of so many seconds ends before the caller's time is up. Envoy waits up to half as long again.
local function fits(handle, policy, seen, seconds)
  local started = tonumber(seen.started or "")
  return policy.timeout == 0 or not started or seconds * 1500 < policy.timeout - (now_ms(handle) - started)
end

-- What the answer says: what it means, if more than its status ("safe": repeatable whatever the method; "never"), how many
-- milliseconds it asks to wait, and whether that is said in a header. The body is read at most once.
local function said(handle, policy, headers, status, marks)
  local hint = header_hint(handle, headers, policy.headers, status)
  local in_header = hint ~= nil
  local meaning, in_body
  if marks then
    meaning, in_body = head_meaning(marks, headers)
  end
  if body_text and (in_body or (body_hint and not hint and meaning ~= "never")) then
    local text = body_text(handle, headers)
    if text and in_body then
      meaning = body_meaning(marks, text, meaning)
    end
    if text and body_hint and not hint then
      hint = body_hint(text)
    end
  end
  if not hint and status == "429" then
    hint = policy.assumed_wait
  end
  return meaning, hint, in_header
end

-- Whether the client has repeated this call by itself, and says so. What it has sent before was repeated by us as often as
-- the policy has it: each of its own tries would otherwise become as many again.
local function already_repeated(handle, policy)
  local request = policy.counts and handle:requestHeaders()
  for name in string.gmatch(request and policy.counts or "", "%S+") do
    if (tonumber(request:get(name) or "") or 0) > 0 then
      return true
    end
  end
  return false
end

-- Whether it is repeated: "yes" (and after how many seconds, if that is asked for), "no" where it could be and won't, nil
-- where it is not to be.
local function verdict(handle, policy, status, meaning, hint)
  local seen = handle:streamInfo():dynamicMetadata():get(SEEN)
  if meaning ~= "safe" and not listed(policy.statuses, status) then
    return nil
  elseif meaning ~= "safe" and not listed(policy.methods, seen.method) then
    -- It may have been done, unless it was refused for its rate. SDKs repeat it all the same, whatever the method.
    return status ~= "429" and "no" or nil
  elseif tonumber(seen.attempt) > policy.attempts or already_repeated(handle, policy) then
    return "no"
  elseif not hint then
    return "yes"
  end
  local seconds = math.ceil(hint / 1000)
  if hint <= policy.hint_max and fits(handle, policy, seen, seconds) then
    return "yes", seconds
  end
  return policy.back_off and "yes" or "no"
end

function decide(handle)
  local policy = handle:metadata():get(POLICY)
  local headers = handle:headers()
  local status = headers:get(":status")
  local marks = policy and marks_of and marks_of(policy, status)
  if not policy or not (marks or SLOW_DOWN[status] or listed(policy.statuses, status)) then
    return
  end
  local meaning, hint, in_header = said(handle, policy, headers, status, marks)
  headers = handle:headers() -- The old object died with the body's arrival.
  if meaning == "never" then
    headers:replace("x-should-retry", "false")
    return
  end
  hint = hint and hint > 0 and hint or nil
  -- For whoever gets it: the router may not repeat what it is told to (a body too long to be kept, a ceiling on retries).
  if hint and not in_header and not headers:get("retry-after") then
    headers:replace("retry-after", tostring(math.ceil(hint / 1000)))
  end
  local repeated, wait = verdict(handle, policy, status, meaning, hint)
  if repeated == "yes" then
    headers:replace("x-hg-retry", "1")
    if wait then
      headers:replace("x-hg-wait", tostring(wait))
    end
  elseif repeated == "no" then
    headers:replace("x-should-retry", "false")
  end
end
