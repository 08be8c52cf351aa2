-- Walks through JSON without building it, in one pass and without recursion, however deeply it is nested. Loaded where an
-- answer's mark is a field of its body.

local PLAIN = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local LITERALS = { ["true"] = true, ["false"] = true, null = true }

local function utf8_of(code)
  if code < 128 then
    return string.char(code)
  elseif code < 2048 then
    return string.char(192 + math.floor(code / 64), 128 + code % 64)
  end
  return string.char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
end

local function unescaped(raw)
  return (string.gsub(raw, "\\(.)(%x?%x?%x?%x?)", function(kind, hex)
    if kind == "u" and #hex == 4 then
      return utf8_of(tonumber(hex, 16))
    end
    return (PLAIN[kind] or kind) .. hex
  end))
end

-- The string whose opening quote is at `start`, and the position behind it.
local function quoted(text, start)
  local position = start + 1
  while true do
    local stop = string.find(text, '["\\]', position)
    if not stop then
      return nil
    elseif string.byte(text, stop) == 34 then
      local raw = string.sub(text, start + 1, stop - 1)
      return string.find(raw, "\\", 1, true) and unescaped(raw) or raw, stop + 1
    end
    position = stop + 2
  end
end

-- A string, number or literal at `position`, and the position behind it; nil where there is none.
local function scalar(text, position)
  if string.byte(text, position) == 34 then
    return quoted(text, position)
  end
  local number, after = string.match(text, "^(%-?%d+%.?%d*[eE]?[+-]?%d*)()", position)
  if number then
    return number, after
  end
  local word, behind = string.match(text, "^(%l+)()", position)
  return nil, LITERALS[word] and behind
end

-- Calls `visit(name, value)` for each member that is a string or a number, wherever it is; false if it isn't JSON.
function json_members(text, visit)
  local position, open, expected, name = 1, {}, "value", nil
  while true do
    position = string.find(text, "[^ \t\r\n]", position)
    if not position then
      return #open == 0 and expected == "end"
    end
    local char = string.sub(text, position, position)
    local top = open[#open]
    if expected ~= "value" and expected ~= "name" and char == top then
      open[#open], position = nil, position + 1
      expected = #open > 0 and "more" or "end"
    elseif expected == "more" and char == "," then
      expected, position = top == "}" and "name" or "value", position + 1
    elseif expected == "name" or (expected == "first" and top == "}") then
      if char ~= '"' then
        return false
      end
      name, position = quoted(text, position)
      position = name and string.match(text, "^%s*:()", position)
      if not position then
        return false
      end
      expected = "value"
    elseif (expected == "value" or expected == "first") and (char == "{" or char == "[") then
      open[#open + 1], position = char == "{" and "}" or "]", position + 1
      expected, name = "first", nil
    elseif expected == "value" or expected == "first" then
      local value
      value, position = scalar(text, position)
      if not position then
        return false
      elseif name and value then
        visit(name, value)
      end
      expected, name = #open > 0 and "more" or "end", nil
    else
      return false
    end
  end
end
