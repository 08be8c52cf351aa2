-- What the operator is told of a section: dynamic metadata that an access log filter picks out. At the end of its first
-- call, at each transition, every second while calls fail and in the ten seconds after a transition (the call that caused
-- it may be a stream that is logged only when it ends), else every ten seconds while there are calls. Each report is
-- whole, so a lost one is made good by the next. The fields are those of SectionReport in metadata.py.

local reports = {}
do
  local SELDOM, OFTEN = 10000, 1000

  local function due(state, now)
    if not state.reported then
      return state.event ~= "" or breakers.counts(state, now) > 0 -- before that there is nothing to tell
    elseif state.changed then
      return true
    end
    local unsettled = now - state.since < SELDOM and state.generation > 0
    local often = unsettled or state.row > 0 or state.told_failing
    if now - state.reported < (often and OFTEN or SELDOM) then
      return false
    end
    -- The call at hand counts when it ends. The first one after a quiet time would say at its start that there are none.
    return breakers.counts(state, now) > 0 or state.row > 0 or state.told_failing
  end

  function reports.emit(handle, section, now)
    local state = section.state
    if not due(state, now) then
      return
    end
    state.changed, state.reported, state.told_failing = false, now, state.row > 0
    local wall = clock.wall(handle)
    local calls, failed = breakers.counts(state, now)
    handle:streamInfo():dynamicMetadata():set(NAMES.report_namespace, NAMES.report_key, {
      section = section.id,
      state = section.breaker and state.name or "none",
      at = wall,
      since = wall - (now - state.since),
      until_time = state.name == "open" and wall + math.max(0, state.until_time - now) or 0,
      event = state.event,
      failure = state.failure,
      calls = calls,
      failures = failed,
      window = state.window.length,
      in_a_row = state.row,
      opened = state.opened,
    })
    if state.event ~= "" and state.counted ~= state.generation then
      state.counted = state.generation
      handle:stats():counter("circuit." .. state.name):inc()
    end
  end
end
