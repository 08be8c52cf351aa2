-- Selectors of limits. A selector is compiled once per version of its section; matching is a few table look-ups.
-- Regular expressions arrive as tables of a deterministic automaton (regex.py): one step per byte, whatever the input.

local matching = {}
do
  local function automaton(source)
    local classes, steps = {}, {}
    for position = 1, #source.classes, 2 do
      classes[#classes + 1] = tonumber(source.classes:sub(position, position + 1), 16)
    end
    for position = 1, #source.steps, 2 do
      steps[#steps + 1] = tonumber(source.steps:sub(position, position + 1), 16)
    end
    local accepting = {}
    for _, state in ipairs(source.accepting) do
      accepting[state] = true
    end
    return function(text)
      local state = 0
      for position = 1, #text do
        -- State 0 is the start, state 1 the one from which nothing matches any more.
        state = steps[state * source.width + classes[text:byte(position) + 1] + 1]
        if state == 1 then
          return false
        end
      end
      return accepting[state] == true
    end
  end

  local function path_test(source)
    if source.exact then
      return function(path) return path == source.exact end
    end
    if source.prefix then
      local prefix = source.prefix
      return function(path)
        if path:sub(1, #prefix) ~= prefix then
          return false
        end
        local after = path:sub(#prefix + 1, #prefix + 1)
        return after == "" or after == "/"
      end
    end
    return automaton(source.regex)
  end

  -- A test for each path that the routes of an upstream match on; and whether one of them is beyond this filter, so that
  -- nothing can be said of a path with two readings.
  function matching.path_tests(sources)
    local tests, unreadable = {}, false
    for _, source in ipairs(sources or {}) do
      if source.prefix or source.regex then
        tests[#tests + 1] = path_test(source)
      else
        unreadable = true
      end
    end
    return tests, unreadable
  end

  local function value_test(source)
    if source.regex then
      return automaton(source.regex)
    end
    return function(value) return value == source.exact end
  end

  -- Any of the header's values may match, and so may their list as one: repeating a header dodges nothing.
  local function header_matches(headers, name, test)
    local count = headers:getNumValues(name)
    for index = 0, count - 1 do
      if test(headers:getAtIndex(name, index)) then
        return true
      end
    end
    return count > 1 and test(headers:get(name))
  end

  function matching.compile(source)
    local selector = { methods = nil, path = nil, headers = {}, distinct = {} }
    if source.methods then
      selector.methods = {}
      for _, method in ipairs(source.methods) do
        selector.methods[method] = true
      end
    end
    if source.path then
      selector.path = path_test(source.path)
    end
    for _, header in ipairs(source.headers or {}) do
      if header.distinct then
        table.insert(selector.distinct, header.name)
      else
        table.insert(selector.headers, { name = header.name, test = value_test(header) })
      end
    end
    return selector
  end

  -- nil where the call is not meant; else the values that the call is counted under ("" where nothing is Distinct).
  -- `call.path` and `call.reading` are the two readings of its path (path.lua): a limit holds for both.
  function matching.key(selector, call)
    if selector.methods and not selector.methods[call.method] then
      return nil
    end
    if selector.path and not (selector.path(call.path) or (call.reading and selector.path(call.reading))) then
      return nil
    end
    for _, header in ipairs(selector.headers) do
      if not header_matches(call.headers, header.name, header.test) then
        return nil
      end
    end
    local key = ""
    for _, name in ipairs(selector.distinct) do
      local value = call.headers:get(name)
      if value == nil then
        return nil
      end
      key = key .. #value .. ":" .. value
    end
    return key
  end
end
