-- Ends a proxy's work in good order, inside the proxy itself: the kubelet asks for it before it ends the pod, and is
-- answered when the proxy may go. Before this file stand: DRAIN_PATH, ADMIN and PAUSE (clusters), OPEN (where the admin
-- interface tells the numbers of calls in flight and of connections), PAUSE_SECONDS, LEAST, SILENCE and MOST (seconds).

local function ask(handle, method, path)
  local headers = {[":method"] = method, [":path"] = path, [":authority"] = "admin"}
  local _, body = handle:httpCall(ADMIN, headers, "", 5000)
  return body or ""
end

-- Whether nobody can miss the proxy any more. A kept connection without a call may have its next one in the very moment in
-- which the proxy ends, and nothing closes it before; so it is waited for that call, whose answer closes it, or for the caller
-- to give it up. After SILENCE it is taken for forgotten. A number that can't be read counts as calls in flight: then the
-- longest drain decides.
local function done(handle, waited)
  local open = ask(handle, "GET", OPEN)
  return open:match("rq_active: (%d+)") == "0" and (waited >= SILENCE or open:match("cx_active: (%d+)") == "0")
end

-- What is answered late by design: Lua can't sleep.
local function pause(handle)
  handle:httpCall(PAUSE, {[":method"] = "GET", [":path"] = "/", [":authority"] = "pause"}, "", 10000)
end

function envoy_on_request(handle)
  if handle:headers():get(":path") ~= DRAIN_PATH then
    handle:respond({[":status"] = "404"}, "")
    return
  end
  -- From here on every answer asks its caller to use another connection next time. New connections are still served, and the
  -- readiness probe still hears that they are: where no other proxy is ready, Kubernetes goes on sending calls here.
  ask(handle, "POST", "/drain_listeners?graceful&skip_exit")
  local waited = 0
  repeat
    pause(handle)
    waited = waited + PAUSE_SECONDS
  until waited >= MOST or (waited >= LEAST and done(handle, waited))
  -- If it is not ended now it shall be found not to live.
  ask(handle, "POST", "/healthcheck/fail")
  handle:respond({[":status"] = "200"}, "drained after " .. waited .. " s\n")
end
