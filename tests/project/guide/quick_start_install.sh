ptd-cache install coalescent
