module fastml.supersonic/local/pause

go 1.26
