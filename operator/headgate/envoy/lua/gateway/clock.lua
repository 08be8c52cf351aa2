-- Time. Everything that measures a duration (breaks, trials, windows, buckets) uses the monotonic clock, so that a step
-- of the wall clock neither ends a break early nor refills a bucket. Wall time is for people: bodies and reports. Envoy
-- gives scripts the wall clock only; the C library has the other one, and LuaJIT's ffi is in every build of Envoy.

local clock = {}
do
  local ffi = require("ffi")
  ffi.cdef([[
    typedef struct { long seconds; long nanoseconds; } headgate_timespec;
    int clock_gettime(int clock, headgate_timespec *result);
  ]])
  local MONOTONIC = 1 -- CLOCK_MONOTONIC, the same number on every Linux
  local spec = ffi.new("headgate_timespec")

  -- Milliseconds since some fixed moment; never goes back.
  function clock.now()
    ffi.C.clock_gettime(MONOTONIC, spec)
    return tonumber(spec.seconds) * 1000 + tonumber(spec.nanoseconds) / 1e6
  end

  -- Milliseconds since 1970.
  function clock.wall(handle)
    return tonumber(handle:timestamp())
  end

  function clock.text(wall_ms)
    return os.date("!%Y-%m-%dT%H:%M:%SZ", math.ceil(wall_ms / 1000))
  end

  local UNITS = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } }

  -- A duration as it is declared: 1m30s.
  function clock.spoken(ms)
    local words = ""
    for _, unit in ipairs(UNITS) do
      local count = math.floor(ms / unit[2])
      if count > 0 then
        words, ms = words .. count .. unit[1], ms - count * unit[2]
      end
    end
    return words
  end
end
