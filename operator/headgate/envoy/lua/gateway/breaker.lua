-- One breaker per section, over calls (not attempts), whatever address they went to.
--
-- The whole machine is this table; the reason for a transition is the event that caused it:

local TRANSITIONS = {
  closed = {
    failures_in_a_row = "open", -- `consecutive` calls failed one after another
    failure_rate = "open", -- at least `percent` of at least `minimum` calls in the window failed
  },
  open = {
    break_over = "half_open", -- a call came, and the break had passed
  },
  half_open = {
    trial_failed = "open", -- with a break twice as long, up to the maximum
    trials_succeeded = "closed", -- as many successes as there are trials at a time
  },
}

-- A result counts only in the state in which its call was let through (`generation`): calls that were under way when a
-- breaker opened neither close it nor open it again. A trial whose caller goes away never reports; its place is free
-- again after its own time limit (`trial_bound`).

local breakers = {}
do
  local BUCKETS = 10
  local REPORT_WINDOW = 10000 -- where no failure rate is asked for, counts are kept for reports only
  local TRIAL_WAIT = 1000 -- what a caller is told while all trials are out

  local function empty_window(length)
    local window = { slot = length / BUCKETS, length = length, epoch = 0, good = {}, bad = {} }
    for index = 1, BUCKETS do
      window.good[index], window.bad[index] = 0, 0
    end
    return window
  end

  local function advance(window, now)
    local epoch = math.floor(now / window.slot)
    for passed = math.max(window.epoch + 1, epoch - BUCKETS + 1), epoch do
      local index = passed % BUCKETS + 1
      window.good[index], window.bad[index] = 0, 0
    end
    window.epoch = epoch
    return epoch % BUCKETS + 1
  end

  local function count(state, now, failed)
    local index = advance(state.window, now)
    local side = failed and state.window.bad or state.window.good
    side[index] = side[index] + 1
  end

  -- Calls and failures in the window.
  function breakers.counts(state, now)
    advance(state.window, now)
    local good, bad = 0, 0
    for index = 1, BUCKETS do
      good, bad = good + state.window.good[index], bad + state.window.bad[index]
    end
    return good + bad, bad
  end

  function breakers.new(now)
    return {
      name = "closed", generation = 0, since = now, event = "", failure = "", row = 0, window = empty_window(REPORT_WINDOW),
      until_time = 0, break_ms = 0, trials = {}, out = 0, ticket = 0, successes = 0, opened = 0, changed = true,
    }
  end

  -- Thresholds and durations are read from `config` when they are needed, so an edit applies at once and changes no
  -- state. Only the window has a shape of its own.
  function breakers.configure(state, config)
    local length = config and config.rate and config.rate.window or REPORT_WINDOW
    if state.window.length ~= length then
      state.window = empty_window(length)
    end
    if not config and state.name ~= "closed" then
      local fresh = breakers.new(clock.now())
      fresh.generation, fresh.opened = state.generation + 1, state.opened
      return fresh
    end
    return state
  end

  local ENTER = {
    open = function(state, event, config, now)
      local doubled = event == "trial_failed" and state.break_ms * 2 or config.break_duration
      state.break_ms = math.min(math.max(doubled, config.break_duration), config.max_break_duration)
      state.until_time = now + state.break_ms
      state.opened = state.opened + 1
    end,
    half_open = function(state)
      state.trials, state.out, state.successes = {}, 0, 0
    end,
    closed = function(state)
      state.row, state.break_ms = 0, 0
      state.window = empty_window(state.window.length)
    end,
  }

  local function fire(state, event, config, now)
    local target = TRANSITIONS[state.name][event]
    state.name, state.event, state.since = target, event, now
    state.generation = state.generation + 1
    state.changed = true
    ENTER[target](state, event, config, now)
  end

  local function free_lost_trials(state, now)
    for ticket, deadline in pairs(state.trials) do
      if deadline <= now then
        state.trials[ticket] = nil
        state.out = state.out - 1
      end
    end
  end

  -- Milliseconds for which calls are refused, or nil to let this one through.
  function breakers.wait(state, config, now)
    if not config then
      return nil
    end
    if state.name == "open" then
      state.until_time = math.min(state.until_time, now + config.max_break_duration)
      if now < state.until_time then
        return state.until_time - now
      end
      fire(state, "break_over", config, now)
    end
    if state.name == "half_open" then
      free_lost_trials(state, now)
      if state.out >= config.trials then
        return TRIAL_WAIT
      end
    end
    return nil
  end

  -- A call goes out: the ticket that its result has to bring back (0 outside of half-open). `bound`: the time limit of
  -- its route, where that is not its section's.
  function breakers.admit(state, config, now, bound)
    if not config or state.name ~= "half_open" then
      return 0
    end
    state.ticket = state.ticket + 1
    state.trials[state.ticket] = now + (bound or config.trial_bound)
    state.out = state.out + 1
    return state.ticket
  end

  local function trial_result(state, config, ticket, failed, now)
    if state.trials[ticket] then
      state.trials[ticket] = nil
      state.out = state.out - 1
    end
    if failed then
      fire(state, "trial_failed", config, now)
      return
    end
    state.successes = state.successes + 1
    if state.successes >= config.trials then
      fire(state, "trials_succeeded", config, now)
    end
  end

  local function judge(state, config, now)
    if config.consecutive and state.row >= config.consecutive then
      fire(state, "failures_in_a_row", config, now)
    elseif config.rate then
      local calls, failures = breakers.counts(state, now)
      if calls >= config.rate.minimum and failures * 100 >= config.rate.percent * calls then
        fire(state, "failure_rate", config, now)
      end
    end
  end

  -- How a call ended. `failure` names what went wrong ("Status503", "ConnectTimeout"), nil for success.
  function breakers.result(state, config, generation, ticket, failure, now)
    if generation ~= state.generation then
      return
    end
    count(state, now, failure ~= nil)
    state.row = failure and state.row + 1 or 0
    if failure then
      state.failure = failure
    end
    if not config then
      return
    elseif state.name == "half_open" then
      trial_result(state, config, ticket, failure ~= nil, now)
    elseif state.name == "closed" and failure then
      judge(state, config, now)
    end
  end

  function breakers.refusal(state, section, wait, wall)
    local words = state.name == "open" and "the circuit breaker is open: too many calls failed"
      or "the circuit breaker is half-open: trial calls are under way"
    return reply.refusal(503, "CircuitOpen", words, {
      { "section", section.id }, { "upstream", section.upstream }, { "reason", state.failure },
      { "until", clock.text(wall + wait) },
    }, wait)
  end
end
