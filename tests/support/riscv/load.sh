# The load of load.py, for the guest's shell, which reads it with ".".
# Whoever finds what it did not write says so in /tmp/failed. Each file that was verified is a byte
# in /tmp/done.
BLOCK=65536
SLOTS=8 # files of each writer, which it writes again and again

same() { # EXPECTED FOUND FILE
    [ "$1" = "$2" ] || echo "$3: $1 is $2" >>/tmp/failed
}

sum() { # FILE: read it past the page cache
    dd if="$1" bs=$BLOCK iflag=direct 2>>/tmp/dd | sha256sum
}

write_one() { # WRITER NUMBER: write a file, sync it, read it again
    file=$1.$(($2 % SLOTS))
    head -c $(($2 % 7 * 8192 + 8192)) /dev/urandom >"/tmp/w$1"
    dd if="/tmp/w$1" of="/mnt/load/$file" bs=$BLOCK conv=fsync 2>"/tmp/dd$1" ||
        cat "/tmp/dd$1" >>/tmp/failed
    written=$(sha256sum <"/tmp/w$1")
    same "$written" "$(sum "/mnt/load/$file")" "$file"
    echo "${written%% *}  $file" >"/tmp/sums/$file"
    echo >>/tmp/done
}

writer() { # WRITER
    number=0
    while [ -e /tmp/go ]; do
        write_one "$1" $number
        number=$((number + 1))
    done
}

reader() {
    while [ -e /tmp/go ]; do
        for file in /tmp/corpus/*; do
            same "$(cat "$file")" "$(sum "/mnt/corpus/${file##*/}")" "$file"
            echo >>/tmp/done
        done
    done
}

scanner() { # so that requests are in flight at most times
    while [ -e /tmp/go ]; do
        dd if=/dev/vda of=/dev/null bs=1048576 iflag=direct 2>>/tmp/dd
    done
}

progress() { # lines of one length: number, files verified, bytes of events, number
    line=0
    while [ -e /tmp/go ]; do
        # shellcheck disable=SC2046 # four numbers
        set -- $(stat -c %s /tmp/done /tmp/ev/keyboard /tmp/ev/mouse /tmp/ev/tablet)
        printf 'L%07d %9d %9d %9d %9d %07dE\n' $line "$1" "$2" "$3" "$4" $line
        line=$((line + 1))
    done
}
