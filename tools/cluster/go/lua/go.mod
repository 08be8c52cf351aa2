module headgate.dev/cluster/lua

go 1.26.6

require github.com/yuin/gopher-lua v1.1.2
