#!/usr/bin/env bash
# C-JEPA at its published size and the fast predictor, in some nine minutes on one GPU with 16 CPU cores: collect, tokenize,
# train side by side, card, success on pairs from episodes that nothing was trained on (docs/results/published_size.md).
#
#     tools/one_gpu.sh FOLDER          # 8,000 episodes of Push-T, 3,000 of Collide
#     tools/one_gpu.sh FOLDER toy      # the same commands on a few episodes, for some minutes on a CPU
#
# What is finished is in FOLDER/models (exported runs) and FOLDER/plans from the moment it is; times are in FOLDER/log.
# The exit code is 1 if a command failed; nothing is trained unless all of its data are there.
set -u
out=$1 size=${2:-full}
if [ "$size" = toy ]; then
  shards=2 episodes=30 collide_episodes=30 held_out=8 pairs=6 val_clips=8
  batch=16 collide_batch=8 steps_fast=4 steps_cjepa=4 steps_collide=4
else
  shards=4 episodes=2000 collide_episodes=3000 held_out=150 pairs=100 val_clips=1024
  batch=1024 collide_batch=256 steps_fast=1800 steps_cjepa=5000 steps_collide=2500
fi
eval "${CHANGES:-}"   # such as CHANGES="steps_fast=4000 pairs=150"
mkdir -p "$out/models" "$out/plans" "$out/output"
export OMP_NUM_THREADS=${THREADS:-2}
pusht=experiments/pusht

say() { echo "$(date +%T) $*" | tee -a "$out/log"; }
run() {  # NAME ARGUMENTS: a command of cjepa, with its output in a file
  local name=$1; shift
  if python3 -m cjepa.cli "$@" > "$out/output/$name.txt" 2>&1; then say "$name: done"; else say "$name: FAILED"; return 1; fi
}
finished() {  # PROCESS...: wait for all; whether none failed
  local process failed=0
  for process; do wait "$process" || failed=1; done
  return $failed
}
collect() {  # NAME EXPERIMENTS SEED EPISODES ENV_STEPS WORKERS MORE...
  run "collect-$1" collect -c "$2/collect.yaml" --out "$out/$1.h5" --seed "$3" --episodes "$4" --episode_env_steps "$5" \
    --workers "$6" --masks false "${@:7}"
}
train() {  # NAME STEPS BATCH ARGUMENTS: fit, weights in half precision
  local name=$1 steps=$2 batch=$3; shift 3
  run "fit-$name" fit "$@" --run_dir "$out/runs/$name" --trainer.max_steps "$steps" --trainer.val_check_interval "$steps" \
    --data.init_args.batch_size "$batch" --data.init_args.val_clips $val_clips --trainer.enable_progress_bar false || return 1
  run "export-$name" export "$out/runs/$name" --out "$out/models/$name" --half true
}
judge() {  # NAME EPISODES PLAN...: card and success
  local name=$1 held=$out/$2.h5 started=(); shift 2
  run "test-$name" test "$out/runs/$name" &
  started+=($!)
  run "plan-$name" plan "$out/runs/$name" -c $pusht/plan.yaml "$@" --episodes "$held" --pairs $pairs --num_videos 0 --out "$out/plans/$name" &
  started+=($!)
  finished "${started[@]}"
}

noisy="--policy.init_args.noise 0.5"   # searched plans are noisy too
fast="-c $pusht/cjepa.yaml -c $pusht/object_filter.yaml --data.init_args.path $out/tokens"
published="-c $pusht/cjepa.yaml -c $pusht/cjepa_paper.yaml --data.init_args.path $out/tokens"
muon="--model.init_args.matrix_lr 1.0e-2 --model.init_args.lr 1.0e-3"
none="--model.init_args.mask.init_args.num_masked 0 --model.init_args.mask.init_args.random_count false"
member=--model.init_args.predictor.init_args
best="-c $pusht/plan_best.yaml"

slots() {  # Push-T's object tokens: the fast predictor, C-JEPA with and without masks
  local shard started=()
  collect held-out $pusht 21 $held_out 125 1 &
  started+=($!)
  for shard in $(seq $shards); do
    (collect "episodes-$shard" $pusht $((100 + shard)) $episodes 60 2 $noisy \
      && run "tokens-$shard" tokenize zoo:pusht-slots "$out/episodes-$shard.h5" --out "$out/tokens/$shard.h5") &
    started+=($!)
  done
  finished "${started[@]}" || return 1
  started=()
  (train fast "$steps_fast" $batch $fast -c $pusht/ensemble.yaml $member.predictor.init_args.dim 256 && judge fast held-out $best) &
  started+=($!)
  (train fast-wide "$steps_fast" $batch $fast $member.dim 384 $member.rounds 3 && judge fast-wide held-out $best) &
  started+=($!)
  (train cjepa-1 "$steps_cjepa" $batch $published $muon && judge cjepa-1 held-out $best) &
  started+=($!)
  (train cjepa-0 "$steps_cjepa" $batch $published $muon $none && judge cjepa-0 held-out $best) &
  started+=($!)
  finished "${started[@]}"
}
collide() {  # the fast predictor, for interventions
  collect collide experiments/collide 500 "$collide_episodes" 64 3 \
    && run tokens-collide tokenize zoo:collide-slots "$out/collide.h5" --out "$out/collide-tokens.h5" \
    && train collide "$steps_collide" $collide_batch -c experiments/collide/cjepa.yaml -c experiments/collide/object_filter.yaml \
      $member.dim 256 $member.rounds 2 --data.init_args.path "$out/collide-tokens.h5" \
    && run test-collide test "$out/runs/collide"
}

say "start"
slots &
started=($!)
collide &
started+=($!)
finished "${started[@]}"
code=$?
say "end"
exit $code
