module headgate.dev/cluster/pause

go 1.26.6
