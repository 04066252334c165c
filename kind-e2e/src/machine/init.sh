#!/bin/sh
# Process 1 of a machine, and all of its init: it mounts, feeds the watchdog while the userland is well, keeps the agent
# running, and reboots when it is asked to. When it ends, the kernel panics and, by panic=1, the machine starts again.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin HOME=/root

up() { cut -d' ' -f1 /proc/uptime; }
# One line of JSON on the console, beside those of the agent.
say() { echo "{\"machine\":\"$1\",\"upS\":$(up)${2:+,$2}}"; }
fail() { say failed "\"why\":\"$1\""; sync; exit 1; }
variable() { tail -c +5 "/sys/firmware/efi/efivars/$1-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" 2>/dev/null | tr -d '\000'; }

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t securityfs security /sys/kernel/security
mount -t tmpfs -o mode=0755 run /run
mkdir /run/skerry

# How long the userland may be unwell, or not there yet.
watchdog=30
for word in $(cat /proc/cmdline); do
  case $word in skerry.watchdog=*) watchdog=${word#*=} ;; esac
done
while read -r module; do
  case $module in
    softdog.ko) insmod /lib/modules/softdog.ko soft_margin="$watchdog" ;;
    *) insmod "/lib/modules/$module" ;;
  esac || fail "module $module cannot be loaded"
done </lib/modules/order
# Nothing ends it: closing it without a word counts as a machine that hangs.
exec 3>/dev/watchdog || fail 'there is no watchdog'

mount -t efivarfs efivarfs /sys/firmware/efi/efivars || fail 'there are no EFI variables'
# A FAT has no journal. Whatever a power cut left half done is put right before anybody reads it: at the first file whose
# place leads nowhere Linux would make it read-only. What was nobody's any more would come back as files, and is not kept.
fsck.fat -a /dev/vda1 >/run/fsck
code=$?
[ "$code" = 0 ] || say repaired "\"code\":$code"
# Not -o sync, which makes writing thirty times slower: the agent syncs what it writes.
mount -t vfat -o noatime,umask=0077 /dev/vda1 /efi || fail 'the EFI system partition cannot be mounted'
rm -f /efi/FSCK*.REC
mount -t ext4 -o noatime /dev/vdb /var/lib/skerry || fail "the data disk cannot be mounted"

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

. /etc/os-release
say boot "\"bootId\":\"$(cat /proc/sys/kernel/random/boot_id)\",\"image\":\"$IMAGE_ID\",\"version\":\"$IMAGE_VERSION\",\"entry\":\"$(variable LoaderEntrySelected)\""

# What this one machine's agent is told stands on its own disk, one argument a line.
set -- /skerry/agent.mjs
while IFS= read -r argument; do set -- "$@" "$argument"; done </var/lib/skerry/agent.args
hostname "$(cat /var/lib/skerry/hostname)"

agent=
begin() {
  node "$@" </dev/null &
  agent=$!
  say agent "\"pid\":$agent"
}
# The power button is an input device, whichever number it got; one event of it has 24 bytes, and fewer cannot be read.
# By its path: this shell takes the programs of busybox before those on the PATH.
for device in /sys/class/input/event*; do
  [ "$(cat "$device/device/name")" = 'Power Button' ] || continue
  (head -c 24 "/dev/input/${device##*/}" >/dev/null && /sbin/poweroff) &
done

begin "$@"
well=
while :; do
  if [ -e /run/skerry/wanted ]; then break; fi
  if /etc/skerry/healthy && kill -0 "$agent" 2>/dev/null; then
    echo >&3
    [ "$well" = yes ] || { touch /run/skerry/healthy; say healthy; }
    well=yes
  else
    [ "$well" = no ] || { rm -f /run/skerry/healthy; say unhealthy "\"resetInS\":$watchdog"; }
    well=no
  fi
  if ! kill -0 "$agent" 2>/dev/null; then
    wait "$agent"
    say ended "\"code\":$?"
    begin "$@"
  fi
  sleep 1
done

wanted=$(cat /run/skerry/wanted)
say "$wanted"
kill -TERM "$agent"
for _ in 1 2 3 4 5 6 7 8 9 10; do
  kill -0 "$agent" 2>/dev/null || break
  echo >&3
  sleep 1
done
umount /var/lib/skerry || mount -o remount,ro /var/lib/skerry
umount /efi
sync
busybox "$wanted" -f
