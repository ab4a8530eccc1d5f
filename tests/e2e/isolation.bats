#!/usr/bin/env bats
# What a step may not do to others: another stage, another build, or the step after it.
bats_require_minimum_version 1.5.0
# shellcheck disable=SC2016

setup_file() {
  export TOP
  TOP=$(mktemp -d "${TMPDIR:-/tmp}/kiln-isolation.XXXXXX")
  export KILN_HOME=$TOP/home KILN_ACCEL=${KILN_ACCEL:-tcg}
  . tests/e2e/common.bash
  share_appliance "$KILN_HOME"
  make_base "$TOP/base" base >&2
}

teardown_file() {
  . tests/e2e/common.bash
  no_leftovers "$KILN_HOME"
  rm -rf "$TOP"
}

setup() {
  DIR=$TOP/$BATS_TEST_NUMBER
  mkdir "$DIR"
}

# build [flags]: the Imagefile on stdin; image t<number>
build() {
  cat >"$DIR/Imagefile"
  "$KILN" image build --progress=plain --name "t$BATS_TEST_NUMBER" "$@" "$DIR"
}
inside() { "$KILN" shell "t$BATS_TEST_NUMBER" -c "$1"; }

@test "a RUN that leaves its sandbox reaches no other stage, no other build and no secret of theirs" {
  echo hidden >"$DIR/secret"
  # The kernel starts the helper beside the agent; it writes into whatever is the target afterwards, and
  # collects secrets.
  run build --secret id=s,src="$DIR/secret" <<'END'
FROM base AS evil
RUN <<EOF
mkdir -p /k /mnt && cp /bin/busybox /k/busybox
cat >/k/evil <<'X'
#!/tree/0/k/busybox sh
B=/tree/0/k/busybox
$B mkdir /kk
$B cp /tree/0/k/busybox /tree/0/k/loop /kk
echo "helper of $($B readlink /proc/1/exe)" >/tree/0/k/out
$B setsid /kk/busybox sh /kk/loop >/dev/null 2>&1 </dev/null &
X
cat >/k/loop <<'X'
while :; do
  /kk/busybox touch /tree/0/beat
  [ -d /tree/0/k ] || { [ -d /tree/0/bin ] && echo poisoned >/tree/0/poison; }
  [ -d /tree/0/k ] || for p in /proc/[0-9]*; do
    [ ! -f $p/root/run/secrets/s ] || /kk/busybox cat $p/root/run/secrets/s >/tree/0/loot
  done
  /kk/busybox usleep 10000
done
X
chmod 755 /k/evil
mount -t proc proc /mnt
echo '|/tree/0/k/evil' >/mnt/sys/kernel/core_pattern
ulimit -c unlimited
sh -c 'kill -SEGV $$'
timeout 60 sh -c 'while [ ! -e /beat ]; do usleep 1000; done'
cat /k/out
EOF
RUN rm /beat; usleep 300000; [ ! -e /beat ]
FROM base AS victim
RUN --mount=type=secret,id=s usleep 300000; echo clean >/clean
FROM base
COPY --from=evil /k/out /out
COPY --from=victim / /victim
RUN usleep 300000
END
  [ "$status" -eq 0 ]
  [[ $output == *'helper of /init'* ]] # the attack is a real one
  inside '[ -s /out ] && [ -e /victim/clean ] && ! ls /poison /loot /victim/poison /victim/loot 2>/dev/null'
  # another project, which takes the layer of the victim's stage
  mkdir "$DIR/other"
  printf '%s\n' 'FROM base' 'RUN --mount=type=secret,id=s usleep 300000; echo clean >/clean' >"$DIR/other/Imagefile"
  run "$KILN" image build --name other --require-cached "$DIR/other"
  [ "$status" -eq 0 ]
  "$KILN" shell other -c '[ ! -e /poison ]'
}

@test "a stage that does not descend from what a VM has run gets a VM of its own" {
  build --progress=json <<'END' >"$DIR/events"
FROM base AS one
RUN echo 1 >/one
RUN echo 2 >/two
FROM base
RUN --mount=from=one,target=/m test -e /m/two && echo 3 >/three
END
  [ "$(grep -c '"vm-start"' "$DIR/events")" = 2 ] # one a stage, not one a step
  [ "$(grep -c '"exec"' "$DIR/events")" = 3 ]
}

@test "a RUN sees no disk that it did not ask for" {
  run build <<'END'
FROM base AS one
RUN echo one >/one
FROM base
RUN cat /proc/partitions >/before
COPY --from=one /one /one
RUN --mount=type=cache,target=/c echo x >/c/x
RUN cat /proc/partitions >/after; cmp /before /after
END
  [ "$status" -eq 0 ]
}

# What a RUN could change of the VM, one a line. Whether it succeeds does not matter.
changes() {
  cat <<'END'
date -s '2020-01-01 00:00'
hwclock -w -u
adjtimex -t 9000
sysctl -w kernel.panic=7
sysctl -w vm.overcommit_memory=2
echo core >/proc/sys/kernel/core_pattern
echo 1 >/proc/sys/net/ipv4/ip_forward
mount -o remount,rw /proc/sys; echo 8 >/proc/sys/kernel/panic
mount -t proc p /mnt; echo 9 >/mnt/sys/kernel/panic
unshare -m sh -c 'mount -t proc p /mnt; echo 10 >/mnt/sys/kernel/panic'
mount -t sysfs s /mnt; echo 1 >/mnt/kernel/mm/ksm/run
mount -o remount,rw /sys; echo 0 >/sys/kernel/rcu_expedited
echo 5 >/sys/class/net/eth0/tx_queue_len
ip link set eth0 down
ip link set eth0 mtu 1400
ip link set lo down
ip link set eth0 promisc on
ip addr add 10.9.9.9/24 dev eth0
ip addr flush dev eth0
ip -6 addr add fd00::9/64 dev eth0
ip route del default
ip route add 10.8.0.0/16 via 10.0.2.2
ip rule add from 10.9.9.9 table 7
ip neigh add 10.0.2.9 lladdr 52:54:00:00:00:09 dev eth0 nud permanent
ip tuntap add dev tap7 mode tap
brctl addbr br7
hostname other; echo other >/proc/sys/kernel/hostname
mount -o remount,ro /
mount -o remount,sync /
fsfreeze --freeze /
mount -t tmpfs t /mnt; mount --bind /bin /mnt
mount -t cgroup2 c /mnt && mkdir /mnt/left
mount -t cgroup -o none,name=left c /mnt
mount -t devtmpfs d /mnt; rm -f /mnt/vda1
mount -t debugfs d /mnt; mount -t tracefs d /mnt
dd if=/dev/zero of=/swap bs=1M count=2; mkswap /swap; swapon /swap
mknod /l b 7 0; modprobe loop; losetup /l /bin/busybox
mknod /v b 254 1; blockdev --setro /v; blockdev --setro /dev/vda
dd if=/dev/vda1 of=/dev/vda1 bs=1k count=1 seek=1 skip=1 conv=notrunc
rmmod dm_mod; insmod /bin/busybox
dmesg -n 1; dmesg -c
ulimit -n 17; ulimit -c 0; renice 5 $$; chrt -p 1 $$
sleep 1000 & setsid sleep 1000 &
ipcmk -M 100; touch /dev/shm/left /dev/left /run/left
mount -t mqueue q /mnt; touch /mnt/left
umount -l /proc; umount -l /sys; umount -l /dev
setfont; loadkmap </dev/null; stty -F /dev/console 1200
kill -9 -1
swapoff -a; sync; echo 3 >/proc/sys/vm/drop_caches
END
}

# What a RUN sees of the VM.
view() {
  cat <<'END'
echo "clock $(($(date +%s) / 86400))"
cd /proc/sys
for f in kernel/panic kernel/core_pattern kernel/hostname vm/overcommit_memory vm/swappiness net/ipv4/ip_forward \
  kernel/printk kernel/randomize_va_space kernel/modprobe; do echo "$f $(cat $f)"; done
cd /sys
cat kernel/mm/ksm/run kernel/rcu_expedited class/net/eth0/tx_queue_len block/vda/ro block/vda/vda1/ro
ls block class/net
ip link
ip -4 addr
ip -6 addr show dev eth0 | grep 'inet6 fd'
ip route
ip rule
ip neigh | grep PERMANENT
cat /proc/mounts /proc/swaps /proc/partitions /proc/cgroups /proc/self/cgroup
cut -d' ' -f1 /proc/modules
sed 's/: *[0-9]* / /' /proc/key-users
grep Cap /proc/self/status
ulimit -a
hostname
ls /sys/block/loop*/loop /dev /dev/shm /dev/mqueue /run /dev/mapper
ps -o comm | grep -c '^sleep'
touch /written || echo read-only
END
}

# In a chain, what the step after a change sees is the VM in which it was made, or one restored because
# of it; after a step from the cache it is that of a fresh VM, which is the first one here.
@test "a RUN sees the same VM after a step that was run and after one from the cache, whatever that changed" {
  local n=0 line
  {
    echo 'FROM base'
    echo 'COPY <<"EOF" /see'; view; echo EOF
    echo 'RUN . /see >/first 2>&1; cat /first'
    while read -r line; do
      n=$((n + 1))
      printf 'RUN <<"EOF"\n%s%d; diff /first /view; }\n{ %s\n} >/dev/null 2>&1; true\nEOF\n' \
        '. /see >/view 2>&1; cmp /first /view || { echo view ' "$n" "$line"
    done < <(changes)
    echo 'RUN . /see >/view 2>&1; diff /first /view && echo the end'
  } >"$DIR/all"
  run build <"$DIR/all"
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$n" -gt 40 ]
  [[ $output == *'kernel/panic '*'inet 10.0.2.15'*'the end'* ]] # it is a view of something
  [[ $output != *$'\nview '* ]]
}

@test "RUN --security=insecure may change the VM, is another step, and leaves nothing" {
  run build <<'END'
FROM base
RUN cat /proc/sys/kernel/panic >/panic; ! echo 7 >/proc/sys/kernel/panic && ! dmesg -n 1
RUN --security=insecure echo 7 >/proc/sys/kernel/panic && date -s '2020-01-01 00:00' && dmesg -n 1
RUN [ "$(date +%Y)" -gt 2020 ] && cmp /panic /proc/sys/kernel/panic
END
  [ "$status" -eq 0 ]
  sed -i 's/^RUN --security=insecure /RUN /' "$DIR/Imagefile"
  run "$KILN" image build --name "t$BATS_TEST_NUMBER" "$DIR"
  [ "$status" -eq 1 ]
  [[ $output == *'Step 2/4 '*'(cached)'*'error: step 3 '* ]]
}
