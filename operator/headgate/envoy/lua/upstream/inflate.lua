-- Reads gzip and zlib bodies (RFC 1950 to 1952), so that a hint in a compressed refusal is seen. Checksums are left alone:
-- the caller's own reader will look at them. Raises for anything malformed or too long.

local LENGTHS = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258 }
local LENGTH_BITS = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 }
local ORDER = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 }

-- A canonical Huffman code from its code lengths (indexed from 0).
local function code_of(lengths, total)
  local counts, symbols, starts = {}, {}, { [1] = 0 }
  for size = 0, 15 do
    counts[size] = 0
  end
  for symbol = 0, total - 1 do
    counts[lengths[symbol]] = counts[lengths[symbol]] + 1
  end
  for size = 1, 14 do
    starts[size + 1] = starts[size] + counts[size]
  end
  for symbol = 0, total - 1 do
    local size = lengths[symbol]
    if size > 0 then
      symbols[starts[size]] = symbol
      starts[size] = starts[size] + 1
    end
  end
  return { counts = counts, symbols = symbols }
end

local function reader(data, position)
  local held, count = 0, 0
  local read = {}
  function read.bits(wanted)
    while count < wanted do
      held = held + (string.byte(data, position) or error("cut off")) * 2 ^ count
      position, count = position + 1, count + 8
    end
    local value = held % 2 ^ wanted
    held, count = math.floor(held / 2 ^ wanted), count - wanted
    return value
  end
  function read.symbol(code)
    local value, first, index = 0, 0, 0
    for size = 1, 15 do
      value = value + read.bits(1)
      local here = code.counts[size]
      if value - here < first then
        return code.symbols[index + value - first]
      end
      index, first, value = index + here, (first + here) * 2, value * 2
    end
    error("no such code")
  end
  function read.align()
    held, count = 0, 0
  end
  return read
end

local function fixed_codes()
  local lengths, distances = {}, {}
  for symbol = 0, 287 do
    lengths[symbol] = symbol < 144 and 8 or symbol < 256 and 9 or symbol < 280 and 7 or 8
  end
  for symbol = 0, 29 do
    distances[symbol] = 5
  end
  return code_of(lengths, 288), code_of(distances, 30)
end

local function dynamic_codes(read)
  local literals, distances, described = read.bits(5) + 257, read.bits(5) + 1, read.bits(4) + 4
  local sizes = {}
  for index = 1, 19 do
    sizes[ORDER[index]] = index <= described and read.bits(3) or 0
  end
  local code, lengths, index = code_of(sizes, 19), {}, 0
  while index < literals + distances do
    local symbol = read.symbol(code)
    local times, value = 1, symbol
    if symbol == 16 then
      times, value = 3 + read.bits(2), lengths[index - 1]
    elseif symbol > 16 then
      times, value = symbol == 17 and 3 + read.bits(3) or 11 + read.bits(7), 0
    end
    for _ = 1, times do
      lengths[index], index = value, index + 1
    end
  end
  local far = {}
  for symbol = 0, distances - 1 do
    far[symbol] = lengths[literals + symbol]
  end
  return code_of(lengths, literals), code_of(far, distances)
end

local function copy(read, out, symbol, distance_code, longest)
  local length = LENGTHS[symbol - 256] + read.bits(LENGTH_BITS[symbol - 256])
  local far = read.symbol(distance_code)
  local extra = far < 4 and 0 or math.floor(far / 2) - 1
  local distance = (far < 4 and far or (2 + far % 2) * 2 ^ extra) + read.bits(extra) + 1
  if #out + length > longest then
    error("too long")
  end
  for _ = 1, length do
    out[#out + 1] = out[#out + 1 - distance]
  end
end

local function block(read, out, kind, longest)
  if kind == 0 then
    read.align()
    local length = read.bits(16)
    read.bits(16)
    for _ = 1, length do
      out[#out + 1] = string.char(read.bits(8))
    end
    return
  end
  local literals, distances
  if kind == 1 then
    literals, distances = fixed_codes()
  else
    literals, distances = dynamic_codes(read)
  end
  while true do
    local symbol = read.symbol(literals)
    if symbol == 256 then
      return
    elseif symbol > 256 then
      copy(read, out, symbol, distances, longest)
    elseif #out < longest then
      out[#out + 1] = string.char(symbol)
    else
      error("too long")
    end
  end
end

-- Where the compressed data of a gzip member begins.
local function after_gzip_head(data)
  local flags, position = string.byte(data, 4), 11
  if string.sub(data, 1, 3) ~= "\31\139\8" then
    error("not gzip")
  end
  if flags % 8 >= 4 then
    position = position + 2 + string.byte(data, position) + 256 * string.byte(data, position + 1)
  end
  for _, flag in ipairs({ 8, 16 }) do
    if flags % (flag * 2) >= flag then
      position = string.find(data, "\0", position, true) + 1
    end
  end
  return flags % 4 >= 2 and position + 2 or position
end

-- The text of a body in this content encoding, at most `longest` bytes; nil if it can't be read.
function inflated(data, encoding, longest)
  local fine, text = pcall(function()
    local read, out = reader(data, encoding == "gzip" and after_gzip_head(data) or 3), {}
    repeat
      local last = read.bits(1)
      block(read, out, read.bits(2), longest)
    until last == 1
    return table.concat(out)
  end)
  return fine and text or nil
end
