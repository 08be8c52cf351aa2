-- Token buckets, one family per limit id, shared by every section that carries the id and kept across edits.
--
-- A limit with Distinct headers has a bucket per value, at most CONFIG.max_distinct of them. A bucket that has filled up
-- again is as good as a new one and makes room; while all are in use, further values share one more bucket. So callers
-- who invent values can neither exhaust memory nor get a spent bucket forgotten.

local limits = {}
do
  local SWEEP_EVERY = 60000
  local families = {} -- limit id -> {limit, buckets, count, oldest, newest, overflow, touched}
  local swept = 0

  local function new_bucket(key, limit, now)
    return { key = key, tokens = limit.burst, at = now, rate = limit.rate, burst = limit.burst }
  end

  -- Fill by the time that has passed, and where the limit was edited keep the share that was spent.
  local function refill(bucket, limit, now)
    bucket.tokens = math.min(bucket.burst, bucket.tokens + (now - bucket.at) * bucket.rate)
    bucket.at = now
    if bucket.rate ~= limit.rate or bucket.burst ~= limit.burst then
      bucket.tokens = bucket.tokens / bucket.burst * limit.burst
      bucket.rate, bucket.burst = limit.rate, limit.burst
    end
    return bucket
  end

  -- Doubly linked list, least recently used first.
  local function unlink(family, bucket)
    if bucket.before then bucket.before.after = bucket.after else family.oldest = bucket.after end
    if bucket.after then bucket.after.before = bucket.before else family.newest = bucket.before end
    bucket.before, bucket.after = nil, nil
  end

  local function append(family, bucket)
    bucket.before = family.newest
    if family.newest then family.newest.after = bucket else family.oldest = bucket end
    family.newest = bucket
  end

  local function make_room(family, limit, now)
    local oldest = family.oldest
    if refill(oldest, limit, now).tokens < oldest.burst then
      return false
    end
    unlink(family, oldest)
    family.buckets[oldest.key] = nil
    family.count = family.count - 1
    return true
  end

  -- Two different 32-bit FNV-style sums beside the length: a long value costs no more memory than a short one, and a
  -- collision would only make two values share a bucket.
  local function short(key)
    if #key <= 64 then
      return key
    end
    local a, b = 0x811c9dc5, 0x9747b28c
    for position = 1, #key do
      local byte = key:byte(position)
      a = bit.tobit(bit.bxor(a, byte) * 403)
      b = bit.tobit(bit.bxor(bit.rol(b, 5), byte) * 1021)
    end
    return #key .. "#" .. bit.tohex(a) .. bit.tohex(b)
  end

  local function bucket_of(limit, key, now)
    local family = families[limit.id]
    if not family then
      family = { buckets = {}, count = 0 }
      families[limit.id] = family
    end
    family.touched, family.full_after = now, limit.burst / limit.rate
    key = short(key)
    local bucket = family.buckets[key]
    if bucket then
      if bucket ~= family.newest then
        unlink(family, bucket)
        append(family, bucket)
      end
      return refill(bucket, limit, now)
    end
    if family.count >= CONFIG.max_distinct and not make_room(family, limit, now) then
      family.overflow = family.overflow or new_bucket("", limit, now)
      return refill(family.overflow, limit, now)
    end
    bucket = new_bucket(key, limit, now)
    family.buckets[key] = bucket
    family.count = family.count + 1
    append(family, bucket)
    return bucket
  end

  -- A family that nobody has used for as long as its emptiest bucket takes to fill is as good as a new one.
  local function sweep(now)
    if now - swept < SWEEP_EVERY then
      return
    end
    swept = now
    for id, family in pairs(families) do
      if now - family.touched > family.full_after then
        families[id] = nil
      end
    end
  end

  function limits.compile(sources)
    local compiled = {}
    for _, source in ipairs(sources or {}) do
      local limit = {
        id = source.id,
        requests = source.requests,
        interval = source.interval,
        burst = source.burst,
        rate = source.requests / source.interval, -- tokens per millisecond
        selectors = {},
      }
      for _, selector in ipairs(source.selectors or {}) do
        table.insert(limit.selectors, matching.compile(selector))
      end
      compiled[#compiled + 1] = limit
    end
    return compiled
  end

  local function key_of(limit, call)
    if #limit.selectors == 0 then
      return ""
    end
    for _, selector in ipairs(limit.selectors) do
      local key = matching.key(selector, call)
      if key then
        return key
      end
    end
  end

  -- Look at every limit that applies, then either refuse (nothing is spent) or return the buckets to take from.
  function limits.check(compiled, call, now)
    sweep(now)
    local buckets, worst, longest = {}, nil, 0
    for _, limit in ipairs(compiled) do
      local key = key_of(limit, call)
      if key then
        local bucket = bucket_of(limit, key, now)
        buckets[#buckets + 1] = bucket
        -- Sums of fractions: a bucket that lacks a billionth of a token is not empty.
        if bucket.tokens < 1 - 1e-9 then
          local wait = (1 - bucket.tokens) / bucket.rate
          if wait > longest then
            worst, longest = limit, wait
          end
        end
      end
    end
    return buckets, worst, longest
  end

  function limits.take(buckets)
    for _, bucket in ipairs(buckets) do
      bucket.tokens = bucket.tokens - 1
    end
  end

  -- SDKs that see no `x-should-retry` wait as long as Retry-After says up to this, and come back much too early if it says
  -- more: the generated ones of several vendors after half a second.
  local WAITED_FOR = 60000

  function limits.refusal(limit, wait, section)
    local policy, rule = limit.id:match("^([^/]*/[^/]*)/([^@]*)@")
    local name = policy and "rule " .. rule .. " of RateLimit " .. policy or "limit " .. limit.id
    return reply.refusal(429, "RateLimited",
      name .. " is used up (" .. limit.requests .. " per " .. clock.spoken(limit.interval) .. ", at most "
        .. limit.burst .. " at once)",
      { { "section", section }, { "limit", limit.id } }, wait, wait <= WAITED_FOR)
  end
end
